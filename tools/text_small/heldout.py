"""Keeps evaluation texts out of training, by hash: the texts themselves are not in the repository.

heldout.bin holds sorted 6-byte hashes of the normalised evaluation texts: both sides of STS-B dev,
of the Debian descriptions and of all captions, and the glosses of gloss-to-word (not their words).
Written once by: heldout.py SETS, where SETS holds the evaluation files.
"""

import hashlib
import pathlib
import re
import sys

FILE = pathlib.Path(__file__).with_name("heldout.bin")
SIZE = 6
WORDS = 16               # the start of a text decides, so that a text cut elsewhere is still found

COLUMNS = {
    "eval_stsb_dev.tsv": (1, 2),
    "eval_wordnet_gloss2word.tsv": (0,),
    "eval_debian_short2long.tsv": (0, 1),
    "captions_multi30k_val.tsv": (0, 1),
}


def key(text):
    words = re.findall(r"[^\W_]+", text.lower())[:WORDS]
    return hashlib.blake2b(" ".join(words).encode("utf-8"), digest_size=SIZE).digest()


def load():
    data = FILE.read_bytes()
    return {data[i:i + SIZE] for i in range(0, len(data), SIZE)}


def holds(keys, text):
    """True if text, or what follows its leading "word, " or "word: ", is held out."""
    return any(part and key(part) in keys
               for part in (text, text.partition(", ")[2], text.partition(": ")[2]))


def main():
    from corpus import read_rows
    sets = pathlib.Path(sys.argv[1])
    keys = {key(row[c]) for file, columns in COLUMNS.items()
            for row in read_rows(sets, file) for c in columns}
    FILE.write_bytes(b"".join(sorted(keys)))
    print(f"{len(keys):,} texts held out")


if __name__ == "__main__":
    main()

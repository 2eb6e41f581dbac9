"""Reads the pair and sentence files into one pool of distinct texts, less what is held out."""

import dataclasses
import lzma
import random

import numpy as np

import heldout

MAX_CHARACTERS = 400

# Pair file: weight of its batches beside its size (see train.py).
PAIRS = {
    "wordnet_word_gloss": 2.0,
    "wordnet_lemmas_gloss": 2.0,     # made here: all words of a gloss in one text
    "wordnet_hypernym_gloss": 1.0,
    "wordnet_synonyms": 1.0,
    "wordnet_gloss_example": 1.0,
    "debian_name_short": 1.0,
    "debian_short_long": 1.0,
    "captions_coco_val2017": 1.0,
    "tatoeba_pivot_paraphrases": 1.0,
    "ppdb_xl_words": 1.0,
}

# What the teacher reads: file, column, number of texts, fewest words.
TAUGHT = (
    ("captions_coco_val2017.tsv", 0, 30000, 1),
    ("tatoeba_english.txt", 0, 30000, 4),
    ("wordnet_word_gloss.tsv", 1, 10000, 3),
)


def read_rows(folder, file):
    """Rows of a tab-separated file, plain or .xz, as lists of columns."""
    path = folder / file
    opened = open(path, encoding="utf-8", newline="\n") if path.exists() else \
        lzma.open(f"{path}.xz", "rt", encoding="utf-8", newline="\n")
    with opened as f:
        return [line.rstrip("\n").split("\t") for line in f]


@dataclasses.dataclass
class Corpus:
    texts: list              # the pool, distinct
    pairs: dict              # name -> [N,2] numbers of texts
    taught: dict             # name -> [N] numbers of texts that the teacher reads
    dropped: int             # rows left out because a text of theirs is held out


def lemmas_gloss(rows):
    """(words joined by commas, gloss) for every gloss that has several words."""
    words = {}
    for word, gloss in rows:
        words.setdefault(gloss, []).append(word)
    return [(", ".join(w), gloss) for gloss, w in words.items() if len(w) > 1]


def load(folder, seed):
    keys, memory, number = heldout.load(), {}, {}

    def allowed(text):
        if text not in memory:
            memory[text] = not heldout.holds(keys, text)
        return memory[text]

    def intern(text):
        return number.setdefault(text[:MAX_CHARACTERS], len(number))

    pairs, taught, dropped = {}, {}, 0
    for name in PAIRS:
        if name == "wordnet_lemmas_gloss":
            rows = lemmas_gloss(read_rows(folder, "wordnet_word_gloss.tsv"))
        else:
            rows = [row[:2] for row in read_rows(folder, name + ".tsv")]
        kept = [(intern(a), intern(b)) for a, b in rows if allowed(a) and allowed(b)]
        dropped += len(rows) - len(kept)
        pairs[name] = np.array(kept, np.int32)
    for file, column, most, words in TAUGHT:
        texts = sorted({row[column] for row in read_rows(folder, file)})
        texts = [t for t in texts if len(t.split()) >= words and allowed(t)]
        random.Random(seed).shuffle(texts)
        taught[file.split(".")[0]] = np.array([intern(t) for t in texts[:most]], np.int32)
    return Corpus(list(number), pairs, taught, dropped)

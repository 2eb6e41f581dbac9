"""Reference rows for the C tokenizer and encoder: parity.py MODEL < TEXTS > ROWS.

For each input line: the text, TAB, its token ids with commas, TAB, the first 8 values of its
embedding. Texts hold neither tabs nor line ends; an empty line gives no ids and zeros.
"""

import pathlib
import sys

from evaluate import Model


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    model = Model(pathlib.Path(sys.argv[1]))
    # Split at line feeds only: other characters that end lines in Unicode belong to the text.
    texts = sys.stdin.buffer.read().decode("utf-8").removesuffix("\n").split("\n")
    out = sys.stdout.buffer
    for text, ids, vector in zip(texts, model.ids(texts), model.encode(texts)):
        values = ",".join(f"{x:.7g}" for x in vector[:8])
        out.write(f"{text}\t{','.join(map(str, ids))}\t{values}\n".encode("utf-8"))


if __name__ == "__main__":
    main()

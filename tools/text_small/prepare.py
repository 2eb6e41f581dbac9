"""Prepares what text-small learns from: prepare.py TEXTS TEACHER CACHE.

TEXTS holds the pair and sentence files, TEACHER the teacher's folder. Written to CACHE:

    pairs/NAME.tsv              pairs without duplicates, less the rows that are held out
    taught/NAME.txt, NAME.npy   sentences and what the teacher makes of them, [N,384] f16
    start/                      the model folder where training starts, f32: each piece of the
                                vocabulary is read by the teacher; its vector is turned to the
                                first 256 principal axes and scaled by a / (a + p), p the piece's
                                share of all tokens (Arora et al. 2017, SIF). This is where the
                                token weights are, and they stay folded into the rows
    rows.json                   how many rows each file has

What the teacher said is kept in CACHE/teacher-said, so that another run asks it only about new texts.
"""

import argparse
import hashlib
import json
import pathlib
import time

import numpy as np

import corpus as corpora
import vocabulary
from export import write_folder
from teacher import Teacher

SEED = 1
WIDTH = 256
SIF_A = 1e-3
CHUNK = 10000            # texts in one file of the teacher's answers

began = time.time()


def say(text):
    print(f"[{time.time() - began:6.0f} s] {text}", flush=True)


def taught_by(teacher, cache, texts):
    """[N,384] f16, what the teacher makes of the texts."""
    folder = cache / "teacher-said"
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for at in range(0, len(texts), CHUNK):
        chunk = texts[at:at + CHUNK]
        path = folder / (hashlib.sha256("\n".join(chunk).encode("utf-8")).hexdigest()[:16] + ".npy")
        if not path.exists():
            unfinished = folder / "unfinished.npy"
            np.save(unfinished, teacher.encode(chunk, say))
            unfinished.rename(path)
        parts.append(np.load(path))
    return np.concatenate(parts)


def first_table(vectors, share):
    """[V,WIDTH] from the teacher's vectors of the pieces [V,384] and the pieces' shares [V]."""
    x = vectors.astype(np.float32)
    x -= x.mean(axis=0)
    weighted = x * np.sqrt(share)[:, None].astype(np.float32)
    _, axes = np.linalg.eigh(weighted.T @ weighted)
    x = x @ axes[:, ::-1][:, :WIDTH]
    x /= np.linalg.norm(x, axis=1, keepdims=True) + 1e-9
    return np.ascontiguousarray(x * (SIF_A / (SIF_A + share))[:, None], np.float32)


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        f.writelines(line + "\n" for line in lines)


def main():
    args = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("texts", "teacher", "cache"):
        args.add_argument(name, type=pathlib.Path)
    args = args.parse_args()

    corpus = corpora.load(args.texts, SEED)
    for name, rows in corpus.pairs.items():
        write_lines(args.cache / "pairs" / f"{name}.tsv", map("\t".join, rows))
    texts = corpora.distinct(corpus)
    say(f"{len(texts):,} distinct texts; {corpus.dropped:,} rows held out")

    tokenizer = vocabulary.learn(texts)
    count = vocabulary.count(tokenizer, texts)
    say(f"{len(count):,} pieces, {count.sum():,} tokens")

    teacher = Teacher(args.teacher)
    start = taught_by(teacher, args.cache, vocabulary.pieces(tokenizer))
    write_folder(args.cache / "start", tokenizer, first_table(start, count / count.sum()))
    for name, rows in corpus.taught.items():
        write_lines(args.cache / "taught" / f"{name}.txt", rows)
        np.save(args.cache / "taught" / f"{name}.npy", taught_by(teacher, args.cache, rows))
    say(f"teacher has read {sum(map(len, corpus.taught.values())):,} sentences")

    counts = {n: len(p) for n, p in corpus.pairs.items()}
    counts |= {f"{n} (teacher)": len(r) for n, r in corpus.taught.items()}
    (args.cache / "rows.json").write_text(json.dumps(counts, indent=2) + "\n")


if __name__ == "__main__":
    main()

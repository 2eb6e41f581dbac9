"""Trains text-small: train.py TEXTS TEACHER CACHE MODEL.

TEXTS holds the pair and sentence files, TEACHER the teacher's folder; CACHE keeps what the teacher
said; MODEL is the folder to write. In three steps:

1. Start: each piece of the vocabulary is read by the teacher; its vector is turned to the first
   256 principal axes and scaled by a / (a + p), p the piece's share of all tokens (Arora et al.
   2017, SIF). This is where the token weights are, and they stay folded into the rows.
2. Steps of two kinds, mixed at random: InfoNCE on a batch of pairs from one file, and distillation
   of the teacher's similarities on a batch of sentences from one file.
3. The table is written in half precision.
"""

import argparse
import hashlib
import json
import pathlib
import time

import numpy as np

import corpus as corpora
import vocabulary
from encoder import Adam, Bags, Batch
from export import write_folder
from losses import info_nce, similarity_distillation
from teacher import Teacher

SEED = 1
WIDTH = 256
SIF_A = 1e-3
STEPS = 3000
BATCH = 1024
LEARNING_RATE = 3e-3             # falls to 0 in a straight line
DROPOUT = 0.1                    # of tokens
TEMPERATURE = 0.05
DISTILLATION_SHARE = 0.4         # of the steps
SIZE_CAP, SIZE_POWER = 60000, 0.75   # a file is drawn in proportion to min(rows, cap) ** power

began = time.time()


def say(text):
    print(f"[{time.time() - began:6.0f} s] {text}", flush=True)


def taught_by(teacher, cache, texts):
    """[N,384] f16, what the teacher makes of the texts; kept in the cache."""
    name = hashlib.sha256("\n".join(texts).encode("utf-8")).hexdigest()[:16]
    path = cache / "taught" / f"{name}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, teacher.encode(texts, say))
    return np.load(path)


def first_table(vectors, share):
    """[V,WIDTH] from the teacher's vectors of the pieces [V,384] and the pieces' shares [V]."""
    x = vectors.astype(np.float32)
    x -= x.mean(axis=0)
    weighted = x * np.sqrt(share)[:, None].astype(np.float32)
    _, axes = np.linalg.eigh(weighted.T @ weighted)
    x = x @ axes[:, ::-1][:, :WIDTH]
    x /= np.linalg.norm(x, axis=1, keepdims=True) + 1e-9
    return np.ascontiguousarray(x * (SIF_A / (SIF_A + share))[:, None], np.float32)


def shares(sizes, weights):
    p = np.minimum(sizes, SIZE_CAP) ** SIZE_POWER * np.array(weights)
    return p / p.sum()


class Trainer:
    def __init__(self, bags, pairs, taught, table):
        """pairs: name -> [N,2] texts; taught: name -> ([N] texts, [N,384] teacher's vectors)."""
        self.rng = np.random.default_rng(SEED)
        self.bags, self.table, self.adam = bags, table, Adam(table)
        filled = np.diff(bags.offsets) > 0
        self.pairs = [p[filled[p].all(axis=1)] for p in pairs.values()]
        self.taught = list(taught.values())
        self.pair_shares = shares([len(p) for p in self.pairs], [corpora.PAIRS[n] for n in pairs])
        self.taught_shares = shares([len(t[0]) for t in self.taught], [1.0] * len(self.taught))

    def draw(self, n):
        return np.unique(self.rng.integers(0, n, BATCH))

    def batch(self, texts):
        return Batch(self.bags, texts, self.rng, DROPOUT)

    def pair_step(self, rate):
        pairs = self.pairs[self.rng.choice(len(self.pairs), p=self.pair_shares)]
        left, right = pairs[self.draw(len(pairs))].T
        same = (left[:, None] == left) | (right[:, None] == right)
        np.fill_diagonal(same, False)
        a, b = self.batch(left), self.batch(right)
        loss, da, db = info_nce(a.forward(self.table), b.forward(self.table), same, TEMPERATURE)
        rows = np.union1d(a.tokens, b.tokens)
        gradient = np.zeros((len(rows), WIDTH), np.float32)
        gradient[np.searchsorted(rows, a.tokens)] += a.backward(da)
        gradient[np.searchsorted(rows, b.tokens)] += b.backward(db)
        self.adam.step(rows, gradient, rate)
        return loss

    def distillation_step(self, rate):
        texts, vectors = self.taught[self.rng.choice(len(self.taught), p=self.taught_shares)]
        drawn = self.draw(len(texts))
        x = self.batch(texts[drawn])
        loss, dx = similarity_distillation(x.forward(self.table),
                                           vectors[drawn].astype(np.float32), TEMPERATURE)
        self.adam.step(x.tokens, x.backward(dx), rate)
        return loss

    def run(self):
        losses = {self.pair_step: [], self.distillation_step: []}
        for i in range(STEPS):
            distil = self.rng.random() < DISTILLATION_SHARE
            step = self.distillation_step if distil else self.pair_step
            losses[step].append(step(LEARNING_RATE * (1 - i / STEPS)))
            if (i + 1) % 250 == 0:
                means = [np.mean(x[-100:]) for x in losses.values()]
                say(f"step {i + 1:,} of {STEPS:,}: pairs {means[0]:.3f}, teacher {means[1]:.3f}")


def main():
    args = argparse.ArgumentParser(description=__doc__)
    for name in ("texts", "teacher", "cache", "model"):
        args.add_argument(name, type=pathlib.Path)
    args = args.parse_args()

    corpus = corpora.load(args.texts, SEED)
    say(f"{len(corpus.texts):,} distinct texts; {corpus.dropped:,} rows held out")
    tokenizer = vocabulary.learn(corpus.texts)
    say(f"{tokenizer.get_vocab_size():,} pieces")
    bags = Bags.from_texts(tokenizer, corpus.texts)
    count = np.bincount(bags.ids, minlength=tokenizer.get_vocab_size())
    say(f"{len(bags.ids):,} tokens")

    teacher = Teacher(args.teacher)
    start = taught_by(teacher, args.cache, vocabulary.pieces(tokenizer))
    taught = {name: (rows, taught_by(teacher, args.cache, [corpus.texts[i] for i in rows]))
              for name, rows in corpus.taught.items()}
    say(f"teacher has read {sum(len(r) for r, _ in taught.values()):,} sentences")

    trainer = Trainer(bags, corpus.pairs, taught, first_table(start, count / count.sum()))
    trainer.run()
    write_folder(args.model, tokenizer, trainer.table)
    counts = {n: len(p) for n, p in corpus.pairs.items()}
    counts |= {f"{n} (teacher)": len(r) for n, r in corpus.taught.items()}
    (args.cache / "rows.json").write_text(json.dumps(counts, indent=2) + "\n")
    say(f"wrote {args.model}")


if __name__ == "__main__":
    main()

"""The static encoder: one row a token, mean over the tokens of a text, unit length.

Texts are kept as bags: all token ids in one array, with offsets. A batch is a sparse matrix
[texts, distinct tokens] times the rows it touches, so that a step costs what the batch holds and
not the whole table.
"""

import numpy as np
from scipy.sparse import csr_matrix

MAX_TOKENS = 96          # a training text is cut here; pooling makes the rest matter little


class Bags:
    """Token ids of N texts: ids of text i are ids[offsets[i]:offsets[i + 1]]."""

    def __init__(self, ids, offsets):
        self.ids, self.offsets = ids, offsets

    @classmethod
    def from_texts(cls, tokenizer, texts, max_tokens=MAX_TOKENS, chunk=20000):
        parts, lengths = [], []
        for at in range(0, len(texts), chunk):
            for e in tokenizer.encode_batch_fast(texts[at:at + chunk], add_special_tokens=False):
                ids = e.ids[:max_tokens]
                parts.append(np.array(ids, np.int32))
                lengths.append(len(ids))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return cls(np.concatenate(parts) if parts else np.empty(0, np.int32), offsets)

    def __len__(self):
        return len(self.offsets) - 1

    def take(self, rows):
        """(ids, lengths) of the given texts, ids concatenated."""
        starts, lengths = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        return self.ids[np.arange(lengths.sum()) + np.repeat(starts - first, lengths)], lengths


def unit(x):
    """Rows of x at unit length, and the lengths they had (never 0)."""
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    np.maximum(norm, 1e-9, out=norm)
    return x / norm, norm


class Batch:
    """Forward and backward of one batch of texts over a table [V,D]."""

    def __init__(self, bags, rows, rng=None, dropout=0.0):
        ids, lengths = bags.take(rows)
        self.tokens, column = np.unique(ids, return_inverse=True)
        value = np.repeat(1.0 / np.maximum(lengths, 1), lengths).astype(np.float32)
        if dropout:
            value *= rng.random(len(value), np.float32) >= dropout
        start = np.concatenate([[0], np.cumsum(lengths)])
        self.mean = csr_matrix((value, column, start), shape=(len(rows), len(self.tokens)))

    def forward(self, table):
        self.out, self.norm = unit(self.mean @ table[self.tokens])
        return self.out

    def backward(self, d_out):
        """Gradient of the touched rows [len(self.tokens),D] from that of the unit vectors."""
        d = d_out - self.out * np.einsum("ij,ij->i", d_out, self.out)[:, None]
        return self.mean.T @ (d / self.norm)


class Adam:
    """Adam over a table, moving only the rows of the batch (lazy moments).

    Source: Kingma & Ba 2015; moments of a row decay only in the steps that touch it.
    """

    def __init__(self, table, beta1=0.9, beta2=0.999, eps=1e-8):
        self.table, self.beta1, self.beta2, self.eps = table, beta1, beta2, eps
        self.m, self.v = np.zeros_like(table), np.zeros_like(table)
        self.steps = np.zeros(len(table), np.int32)

    def step(self, rows, grad, lr):
        self.steps[rows] += 1
        n = self.steps[rows][:, None].astype(np.float32)
        m = self.m[rows] * np.float32(self.beta1) + grad * np.float32(1 - self.beta1)
        v = self.v[rows] * np.float32(self.beta2) + grad * grad * np.float32(1 - self.beta2)
        self.m[rows], self.v[rows] = m, v
        m /= 1 - np.float32(self.beta1) ** n
        v /= 1 - np.float32(self.beta2) ** n
        np.sqrt(v, out=v)
        v += np.float32(self.eps)
        m /= v
        m *= np.float32(lr)
        self.table[rows] -= m

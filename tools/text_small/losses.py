"""The two losses, each with its gradient with respect to the unit vectors it is given."""

import numpy as np


def softmax_rows(x):
    x = np.exp(x - x.max(axis=1, keepdims=True))
    x /= x.sum(axis=1, keepdims=True)
    return x


def info_nce(a, b, same, temperature):
    """Symmetric InfoNCE. a, b [B,D]; same [B,B] marks pairs that are no negatives.

    Source: van den Oord et al. 2018; both directions as in CLIP (Radford et al. 2021).
    """
    n = len(a)
    s = (a @ b.T) / np.float32(temperature)
    s[same] = -1e4
    rows, columns = softmax_rows(s), softmax_rows(s.T)
    i = np.arange(n)
    loss = -0.5 * (np.log(rows[i, i] + 1e-12).mean() + np.log(columns[i, i] + 1e-12).mean())
    rows += columns.T
    rows[i, i] -= 2
    rows *= np.float32(0.5 / (n * temperature))
    return float(loss), rows @ b, rows.T @ a


def similarity_distillation(s, t, temperature):
    """Cross entropy between the neighbour distributions of student s [B,D] and teacher t [B,E].

    For every text the other texts of the batch are ranked by similarity; the student is to spread
    its softmax over them as the teacher does. Source: Tejankar et al. 2021 (ISD), Fang et al. 2021.
    """
    n = len(s)
    i = np.arange(n)
    z = (s @ s.T) / np.float32(temperature)
    z[i, i] = -1e4
    target = (t @ t.T) / np.float32(temperature)
    target[i, i] = -1e4
    target, p = softmax_rows(target), softmax_rows(z)
    loss = -(target * np.log(p + 1e-12)).sum() / n
    p -= target
    p *= np.float32(1 / (n * temperature))
    return float(loss), p @ s + p.T @ s

#!/usr/bin/env python3
"""Write tests/data/ref/learn_ops.safetensors and tests/data/ref/static_curve.safetensors: what PyTorch makes of the
ops in core/nn and core/learn.

    python3 -m venv VENV && VENV/bin/pip install torch numpy safetensors
    VENV/bin/python tools/ref/learn_ops.py

learn_ops: for each case its inputs, outputs and gradients, named CASE.TENSOR. PyTorch computes in double from
inputs that are exact in float; what it finds is stored as float.

static_curve: a table and ten batches; the loss before each step of SparseAdam on symmetric InfoNCE, and the table
after the last.
"""
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

OUT = Path(__file__).resolve().parents[2] / "tests/data/ref"
rng = np.random.default_rng(11)
tensors = {}


def exact(x):
    """As a double tensor whose values are floats."""
    return torch.from_numpy(np.asarray(x, dtype=np.float32).astype(np.float64))


def unit_rows(*shape):
    return exact(F.normalize(torch.from_numpy(rng.normal(size=shape)), dim=1).numpy())


def leaf(x):
    return x.clone().requires_grad_()


def put(case, **values):
    for name, x in values.items():
        if torch.is_tensor(x):
            x = x.detach().numpy()
        x = np.atleast_1d(np.asarray(x))
        kind = {"i": np.int32, "b": np.uint8, "f": np.float32}[x.dtype.kind]
        tensors[f"{case}.{name}"] = np.ascontiguousarray(x.astype(kind))


def bags(n, most, vocabulary):
    """Ids of n bags, one after the other, and where each starts."""
    lengths = rng.integers(1, most + 1, size=n)
    ids = rng.integers(0, vocabulary, size=int(lengths.sum()))
    return torch.from_numpy(ids), torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]))


def embed(table, ids, starts, sparse=False):
    return F.embedding_bag(ids, table, starts[:-1], mode="mean", sparse=sparse)


def infonce(a, b, temperature, symmetric, masked=None):
    n = a.shape[0]
    s = a @ b.T / temperature
    if masked is not None:
        s = s.masked_fill(masked, -math.inf)
    target = torch.arange(n)
    loss = F.cross_entropy(s, target)
    return (loss + F.cross_entropy(s[:, :n].T, target)) / 2 if symmetric else loss


# Mean of rows, then unit length.
for i, (n, v, d) in enumerate([(1, 1, 1), (3, 7, 3), (5, 11, 17), (4, 6, 32)]):
    table = leaf(exact(rng.normal(size=(v, d))))
    ids, starts = bags(n, 6, v)
    mean = embed(table, ids, starts)
    mean.retain_grad()
    unit = F.normalize(mean, dim=1, eps=1e-300)
    dout = exact(rng.normal(size=(n, d)))
    unit.backward(dout)
    put(f"bag.{i}", table=table, ids=ids, starts=starts, mean=mean, unit=unit, dout=dout, dmean=mean.grad,
        dtable=table.grad)

# (pairs, candidates, dimensions, temperature, symmetric, masked)
for i, (n, m, d, t, symmetric, masks) in enumerate([
        (1, 1, 1, 1.0, True, False), (1, 4, 3, 0.5, False, False), (3, 3, 1, 0.25, True, False),
        (7, 7, 5, 0.0625, True, False), (7, 9, 5, 0.0625, True, True), (5, 13, 33, 0.03125, False, True)]):
    a, b = leaf(unit_rows(n, d)), leaf(unit_rows(m, d))
    masked = None
    if masks:
        masked = torch.from_numpy(rng.random((n, m)) < 0.3)
        masked[:, :n] &= ~torch.eye(n, dtype=torch.bool)
        put(f"infonce.{i}", masked=masked)
    loss = infonce(a, b, t, symmetric, masked)
    loss.backward()
    put(f"infonce.{i}", a=a, b=b, temperature=t, symmetric=symmetric, loss=loss, da=a.grad, db=b.grad)

for i, (n, d, teacher_d, t) in enumerate([(2, 3, 4, 1.0), (3, 1, 1, 0.5), (9, 5, 7, 0.0625), (17, 33, 3, 0.0625)]):
    x, teacher = leaf(unit_rows(n, d)), unit_rows(n, teacher_d)
    others = ~torch.eye(n, dtype=torch.bool)
    q = F.log_softmax((x @ x.T / t)[others].view(n, n - 1), dim=1)
    p = F.log_softmax((teacher @ teacher.T / t)[others].view(n, n - 1), dim=1)
    loss = F.kl_div(q, p, reduction="batchmean", log_target=True)
    loss.backward()
    put(f"distill.{i}", x=x, teacher=teacher, temperature=t, loss=loss, dx=x.grad)

for i, (n, d) in enumerate([(1, 1), (3, 5), (4, 33)]):
    x, p = leaf(unit_rows(n, d)), unit_rows(n, d)
    loss = (1 - (x * p).sum(dim=1)).mean()
    loss.backward()
    put(f"anchor.{i}", x=x, p=p, loss=loss, dx=x.grad)

OUT.mkdir(parents=True, exist_ok=True)
save_file(tensors, OUT / "learn_ops.safetensors")

tensors = {}
V, D, N, STEPS, TEMPERATURE, RATE = 40, 8, 12, 10, 0.0625, 0.125
table = leaf(exact(rng.normal(size=(V, D))))
optimiser = torch.optim.SparseAdam([table], lr=RATE)
put("curve", table=table, temperature=TEMPERATURE, rate=RATE)
losses = []
for step in range(STEPS):
    sides = [bags(N, 5, V) for _ in range(2)]
    for name, (ids, starts) in zip("ab", sides):
        put(f"curve.{step}.{name}", ids=ids, starts=starts)
    optimiser.zero_grad()
    loss = infonce(*(F.normalize(embed(table, ids, starts, sparse=True), dim=1) for ids, starts in sides),
                   TEMPERATURE, True)
    loss.backward()
    losses.append(loss.item())
    optimiser.step()
put("curve", losses=np.array(losses), trained=table)
save_file(tensors, OUT / "static_curve.safetensors")
print("losses:", " ".join(f"{x:.4f}" for x in losses))

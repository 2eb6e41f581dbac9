#!/usr/bin/env python3
"""Write tests/data/ref/nn_ops.safetensors: what PyTorch makes of the text ops in core/nn, and of AdamW.

    python3 -m venv VENV && VENV/bin/pip install torch numpy safetensors
    VENV/bin/python tools/ref/nn_ops.py

For each case its inputs, outputs and gradients, named OP.NUMBER.TENSOR. PyTorch computes in double from inputs that
are exact in float; what it finds is stored as float.
"""
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

OUT = Path(__file__).resolve().parents[2] / "tests/data/ref/nn_ops.safetensors"
rng = np.random.default_rng(12)
tensors = {}


def exact(*shape, size=1.0):
    """Normal values, as a double tensor whose values are floats."""
    return torch.from_numpy((rng.normal(size=shape) * size).astype(np.float32).astype(np.float64))


def leaf(*shape, size=1.0):
    return exact(*shape, size=size).requires_grad_()


def put(case, **values):
    for name, x in values.items():
        if torch.is_tensor(x):
            x = x.detach().numpy()
        x = np.atleast_1d(np.asarray(x))
        kind = {"i": np.int32, "f": np.float32}[x.dtype.kind]
        tensors[f"{case}.{name}"] = np.ascontiguousarray(x.astype(kind))


def back(out):
    """Backward from a random gradient, which is returned."""
    dout = exact(*out.shape)
    out.backward(dout)
    return dout


for i, (n, d, o, bias) in enumerate([(1, 1, 1, True), (1, 3, 2, False), (7, 5, 3, True), (33, 4, 32, True)]):
    x, w, b = leaf(n, d), leaf(o, d), leaf(o)
    y = F.linear(x, w, b if bias else None)
    dy = back(y)
    put(f"linear.{i}", x=x, w=w, y=y, dy=dy, dx=x.grad, dw=w.grad)
    if bias:
        put(f"linear.{i}", b=b, db=b.grad)

for i, (n, c, eps) in enumerate([(1, 1, 1e-5), (1, 2, 0.25), (7, 5, 1e-12), (33, 32, 1e-12), (2, 33, 1e-5)]):
    x, gamma, beta = leaf(n, c), leaf(c), leaf(c)
    y = F.layer_norm(x, (c,), gamma, beta, eps)
    dy = back(y)
    put(f"layernorm.{i}", x=x, gamma=gamma, beta=beta, eps=eps, y=y, dy=dy, dx=x.grad, dgamma=gamma.grad,
        dbeta=beta.grad)

# In the order of enum activation.
functions = [lambda x: x + 0, F.gelu, lambda x: F.gelu(x, approximate="tanh"), F.relu, torch.tanh]
for i, f in enumerate(functions):
    x = leaf(133, size=3)
    y = f(x)
    dy = back(y)
    put(f"activation.{i}", x=x, y=y, dy=dy, dx=x.grad)

for i, (n, c, scale) in enumerate([(1, 1, 1), (3, 2, 1), (2, 7, 0.5), (3, 33, 0.125)]):
    x = leaf(n, c, size=3)
    y = F.softmax(x * scale, dim=1)
    dy = back(y)
    put(f"softmax.{i}", x=x, scale=float(scale), y=y, dy=dy, dx=x.grad)


def starts_of(lengths):
    return np.concatenate([[0], np.cumsum(lengths)])


# Each text by itself: (lengths, heads, values a head)
LENGTHS = [1, 2, 7, 33]
for i, (lengths, h, d) in enumerate([([1], 1, 1), (LENGTHS, 1, 1), (LENGTHS, 3, 1), (LENGTHS, 1, 5), (LENGTHS, 3, 5),
                                     (LENGTHS, 1, 32), ([1, 7], 3, 32)]):
    starts, c = starts_of(lengths), h * d
    qkv = leaf(starts[-1], 3 * c)
    outs = []
    for n, first in zip(lengths, starts):
        q, k, v = (x.reshape(n, h, d).transpose(0, 1) for x in qkv[first:first + n].split(c, dim=1))
        p = F.softmax(q @ k.transpose(1, 2) / math.sqrt(d), dim=2)
        outs.append((p @ v).transpose(0, 1).reshape(n, c))
    out = torch.cat(outs)
    dout = back(out)
    put(f"attention.{i}", starts=starts, heads=h, qkv=qkv, out=out, dout=dout, dqkv=qkv.grad)

for i, c in enumerate([1, 5, 32]):
    starts = starts_of(LENGTHS)
    for name, reduce in [("pool_mean", lambda x: x.mean(dim=0)), ("pool_first", lambda x: x[0])]:
        x = leaf(starts[-1], c)
        out = torch.stack([reduce(x[a:b]) for a, b in zip(starts, starts[1:])])
        dout = back(out)
        put(f"{name}.{i}", starts=starts, x=x, out=out, dout=dout, dx=x.grad)

for i, (v, t, c) in enumerate([(1, 1, 1), (5, 7, 1), (9, 33, 32)]):
    table, ids = leaf(v, c), torch.from_numpy(rng.integers(0, v, size=t))
    out = F.embedding(ids, table)
    dout = back(out)
    put(f"embedding.{i}", table=table, ids=ids, out=out, dout=dout, dtable=table.grad)

# Ten steps with gradients that are given; the weights after each.
for i, (n, rate, decay) in enumerate([(1, 0.125, 0.0), (37, 2e-3, 0.01), (37, 0.5, 0.25)]):
    w = leaf(n)
    optimiser = torch.optim.AdamW([w], lr=rate, weight_decay=decay)
    put(f"adamw.{i}", w=w, rate=rate, decay=decay)
    gradients, after = [], []
    for step in range(10):
        w.grad = exact(n, size=[1.0, 1e-3, 1e-7][step % 3])
        gradients.append(w.grad)
        optimiser.step()
        after.append(w.detach().clone())
    put(f"adamw.{i}", g=torch.stack(gradients), after=torch.stack(after))

save_file(tensors, OUT)
print(OUT.name, len(tensors), "tensors", OUT.stat().st_size, "bytes")

#!/usr/bin/env python3
"""PyTorch as a peer of bench_train: steps of symmetric InfoNCE (temperature 0.05) with AdamW over all parameters,
without dropout, again and again on one batch.

    train_torch.py MODEL_DIR FILE [compile]

FILE: token ids as worker.py reads them, texts of one length, all anchors first, then their positives. With
`compile`, through torch.compile. Requests, a line each:

    losses THREADS COUNT         start anew -> the losses before each of COUNT steps
    run THREADS SECONDS          -> TOKENS_PER_S MEDIAN_MS eager|compiled

AdamW: rate 2e-5 (RATE), betas 0.9 and 0.999, eps 1e-8, decay 0.01, none for biases and LayerNorm; the fastest of
PyTorch's own ways to compute it.
"""
import statistics
import sys

RATE = 2e-5


def adam_of(torch, m):
    decay = [p for p in m.parameters() if p.ndim > 1]
    plain = [p for p in m.parameters() if p.ndim == 1]
    groups = [{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    options = dict(lr=RATE, betas=(0.9, 0.999), eps=1e-8)
    for kind in ({"fused": True}, {"foreach": True}):
        try:
            probe = torch.nn.Parameter(torch.zeros(2))
            probe.grad = torch.ones(2)
            torch.optim.AdamW([probe], **options, **kind).step()
            return torch.optim.AdamW(groups, **options, **kind)
        except (RuntimeError, TypeError, ValueError):
            pass
    return torch.optim.AdamW(groups, **options)


def main():
    import numpy as np
    import torch

    import bert_torch
    import worker
    model_dir, path, compiled = sys.argv[1], sys.argv[2], "compile" in sys.argv[3:]
    ids = torch.from_numpy(np.stack(worker.read_texts(path)))
    n = len(ids) // 2
    label = torch.arange(n)
    state = {}

    def loss_of(m, ids):
        x = m(ids)
        s = x[:n] @ x[n:].T / 0.05
        return (torch.nn.functional.cross_entropy(s, label) + torch.nn.functional.cross_entropy(s.T, label)) / 2

    def reset():
        m = bert_torch.load(model_dir).train()
        state.update(m=m, adam=adam_of(torch, m), loss=torch.compile(loss_of) if compiled else loss_of)

    def step():
        state["adam"].zero_grad(set_to_none=True)
        loss = state["loss"](state["m"], ids)
        loss.backward()
        state["adam"].step()
        return loss.item()

    if compiled:  # a compiler may be missing: say so before anybody waits
        reset()
        step()
    print("ready", "pytorch-compile" if compiled else "pytorch", torch.__version__, flush=True)
    for line in sys.stdin:
        words = line.split()
        torch.set_num_threads(int(words[1]))
        worker.blas_threads(int(words[1]))
        if words[0] == "losses":
            reset()
            print(*(f"{step():.7g}" for _ in range(int(words[2]))), flush=True)
            continue
        if not state:
            reset()
        step()  # what is compiled for this number of threads is compiled now
        times = []
        while not times or sum(times) < float(words[2]):
            at = worker.clock()
            step()
            times.append(worker.clock() - at)
        print(f"{len(times) * ids.numel() / sum(times):.3f} {statistics.median(times) * 1e3:.4f} "
              f"{'compiled' if compiled else 'eager'}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Exception as e:
        print("no pytorch:", str(e).splitlines()[0] if str(e) else type(e).__name__, flush=True)

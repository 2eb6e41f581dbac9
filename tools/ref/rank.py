#!/usr/bin/env python3
"""Write tests/data/core/rank.json: random cases, many with ties, and what SciPy and scikit-learn say.

    python3 -m venv VENV && VENV/bin/pip install numpy scipy scikit-learn
    VENV/bin/python tools/ref/rank.py > tests/data/core/rank.json
"""
import json

import numpy as np
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import ndcg_score

rng = np.random.default_rng(3)
spearman, retrieval = [], []
for n, levels in [(2, 9), (3, 2), (5, 3), (10, 0), (10, 2), (31, 4), (50, 0), (64, 3), (100, 10), (200, 0)]:
    for noise in (0.2, 2.0):
        x = rng.normal(size=n)
        y = x + noise * rng.normal(size=n)
        if levels:
            x, y = np.round(x * levels / 3), np.round(y * levels / 3)
        x, y = x.astype(np.float32), y.astype(np.float32)
        if len(set(x)) < 2 or len(set(y)) < 2:
            continue
        rho = float(spearmanr(x, y).statistic)
        spearman.append({"x": [round(float(v), 9) for v in x], "y": [round(float(v), 9) for v in y], "rho": rho})

for nq, nd, dim in [(1, 1, 1), (3, 5, 2), (7, 30, 3), (20, 40, 2), (10, 100, 4)]:
    # Whole numbers: exact scores, and ties.
    q = rng.integers(-2, 3, size=(nq, dim)).astype(np.float32)
    d = rng.integers(-2, 3, size=(nd, dim)).astype(np.float32)
    target = rng.integers(0, nd, size=nq)
    scores = q @ d.T
    # Ranks with ties counted against the target: rankdata's "max" on what is to be sorted downwards.
    ranks = np.array([rankdata(-s, method="max")[t] for s, t in zip(scores, target)])
    relevant = np.zeros((nq, nd))
    relevant[np.arange(nq), target] = 1
    untied = scores - 1e-3 * relevant  # the target last among equals, as above
    ndcg = float(ndcg_score(relevant, untied, k=10)) if nd > 1 else 1.0
    top = ranks <= 10
    retrieval.append({"queries": q.tolist(), "docs": d.tolist(), "target": target.tolist(),
                      "recall_at_1": float((ranks == 1).mean()), "recall_at_10": float(top.mean()),
                      "mrr_at_10": float(np.where(top, 1 / ranks, 0).mean()), "ndcg_at_10": ndcg})
print(json.dumps({"spearman": spearman, "retrieval": retrieval}, separators=(",", ":")))

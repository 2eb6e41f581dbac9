#!/usr/bin/env python3
"""Write tests/data/core/gate.json: ranks before and after, and SciPy's percentile intervals of the mean gains.

    python3 -m venv VENV && VENV/bin/pip install numpy scipy
    VENV/bin/python tools/ref/gate.py > tests/data/core/gate.json
"""
import json

import numpy as np
from scipy.stats import binomtest, bootstrap

rng = np.random.default_rng(11)


def metrics(ranks):
    top = ranks <= 10
    return top.astype(float), np.where(top, 1 / ranks, 0), np.where(top, 1 / np.log2(1 + ranks), 0)


cases = []
for n, spread, shift, test in [(60, 30, 8, 1), (300, 40, 0, 1), (300, 25, 2, 2), (500, 60, 6, 5), (300, 8, 1, 1)]:
    before = rng.integers(1, spread, size=n)
    after = np.maximum(1, before + rng.integers(-4, 5, size=n) - rng.integers(0, shift + 1, size=n))
    tail = 0.05 / (test * (test + 1))
    case = {"before": before.tolist(), "after": after.tolist(), "test": test, "level": 1 - 2 * tail}
    for name, a, b in zip(("recall_at_10", "mrr_at_10", "ndcg_at_10"), metrics(after), metrics(before)):
        gain = a - b
        ci = bootstrap((gain,), np.mean, confidence_level=1 - 2 * tail, n_resamples=200000, method="percentile",
                       batch=2000, random_state=rng).confidence_interval
        case[name] = [gain.mean(), ci.low, ci.high]
    metric = 1 if (before <= 10).mean() >= 0.98 else 0
    gain = metrics(after)[metric] - metrics(before)[metric]
    up, down = int((gain > 0).sum()), int((gain < 0).sum())
    case["up"], case["down"] = up, down
    case["sign_p"] = binomtest(up, up + down, alternative="greater").pvalue if up + down else 1.0
    cases.append(case)
print(json.dumps(cases, separators=(",", ":")))

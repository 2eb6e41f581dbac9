"""Measures a model folder on the evaluation sets: evaluate.py MODEL SETS [--json FILE].

Reads only what is shipped: tokenizer.json and the f16 table. SETS is a folder that holds the four
evaluation files (eval_stsb_dev.tsv and so on, plain or .xz).
"""

import argparse
import json
import pathlib

import numpy as np
from safetensors.numpy import load_file
from scipy.stats import spearmanr
from tokenizers import Tokenizer

from corpus import read_rows

RETRIEVAL = {
    # name: (file, keep every n-th row); the right answer is the partner in the second column
    "gloss_to_word": ("eval_wordnet_gloss2word.tsv", 1),
    "debian_short_to_long": ("eval_debian_short2long.tsv", 1),
    "caption_to_caption": ("captions_multi30k_val.tsv", 5),
}


class Model:
    """A shipped folder, as the server reads it: f16 rows, mean in f32, unit length."""

    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        table = load_file(folder / "model.safetensors")["embedding.weight"]
        assert table.dtype == np.float16
        self.table = table.astype(np.float32)

    def ids(self, texts):
        limit = self.config["max_tokens"]
        encoded = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        return [e.ids[:limit] for e in encoded]

    def encode(self, texts):
        """[N,D] f32; a text without tokens gives zeros."""
        out = np.zeros((len(texts), self.table.shape[1]), np.float32)
        for i, ids in enumerate(self.ids(texts)):
            if ids:
                mean = self.table[ids].mean(axis=0)
                out[i] = mean / max(float(np.linalg.norm(mean)), 1e-12)
        return out


def retrieval(queries, documents):
    """Recall of the partner at 1 and 10; ties count against it."""
    scores = queries @ documents.T
    better = (scores >= scores.diagonal()[:, None]).sum(axis=1) - 1
    return {"recall@1": float((better < 1).mean()), "recall@10": float((better < 10).mean()),
            "rows": len(queries)}


def measure(model, sets):
    rows = read_rows(sets, "eval_stsb_dev.tsv")
    left, right = (model.encode([r[c] for r in rows]) for c in (1, 2))
    rho = spearmanr([float(r[0]) for r in rows], (left * right).sum(axis=1)).statistic
    figures = {"stsb_dev": {"spearman": float(rho), "rows": len(rows)}}
    for name, (file, every) in RETRIEVAL.items():
        rows = read_rows(sets, file)[::every]
        figures[name] = retrieval(*(model.encode([r[c] for r in rows]) for c in (0, 1)))
    return figures


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("model", type=pathlib.Path)
    args.add_argument("sets", type=pathlib.Path)
    args.add_argument("--json", type=pathlib.Path)
    args = args.parse_args()
    figures = measure(Model(args.model), args.sets)
    for name, f in figures.items():
        print(f"{name:22}" + "  ".join(f"{k} {v:.4f}" if k != "rows" else f"{v:,} rows"
                                       for k, v in f.items()))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()

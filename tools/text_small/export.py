"""Writes a model folder: Hugging Face layout, readable by Kindred and by sentence-transformers."""

import json

import numpy as np
from safetensors.numpy import save_file

VERSION = 2
MAX_TOKENS = 512


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tokenizer(tokenizer, path):
    """The library's own format without indentation: a third smaller."""
    value = json.loads(tokenizer.to_str())
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n",
                    encoding="utf-8")


def write_folder(folder, tokenizer, table):
    """table [V,D] f32, rows already carrying the token weights."""
    if len(table) != tokenizer.get_vocab_size():
        raise ValueError("table and vocabulary differ in size")
    if not np.isfinite(table).all():
        raise ValueError("table has values that are no numbers")
    (folder / "1_Normalize").mkdir(parents=True, exist_ok=True)
    write_json(folder / "modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"},
        {"idx": 1, "name": "1", "path": "1_Normalize",
         "type": "sentence_transformers.models.Normalize"},
    ])
    write_json(folder / "1_Normalize" / "config.json", {})
    write_json(folder / "config.json", {
        "name": "text-small",
        "version": VERSION,
        "license": "apache-2.0",
        "model_type": "static",
        "architectures": ["StaticEmbedding"],
        "vocab_size": int(table.shape[0]),
        "hidden_size": int(table.shape[1]),
        "pooling": "mean",
        "normalize": True,
        "max_tokens": MAX_TOKENS,
    })
    write_tokenizer(tokenizer, folder / "tokenizer.json")
    weights = folder / "model.safetensors"
    save_file({"embedding.weight": np.ascontiguousarray(table, np.float32)}, weights,
              metadata={"format": "pt"})
    weights.chmod(0o644)     # the library makes it private

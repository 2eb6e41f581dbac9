#!/usr/bin/env python3
"""Compare Kindred's BERT encoders with sentence-transformers: vectors of many texts, of variants of a model folder,
of small random models, and of what Kindred's training writes.

    python3 -m venv VENV && VENV/bin/pip install torch sentence-transformers
    make && for x in embed_stdin train_export; do cc -std=gnu17 -D_GNU_SOURCE -O2 -I. -o build/$x \\
        tools/parity/$x.c build/release/libcore.a build/release/libbase.a \\
        -ljansson -lutf8proc -lopenblas -lm -lpthread; done
    VENV/bin/python tools/parity/compare.py --bin build --model MODEL_DIR [--sts FILE.tsv] FILE.txt[.xz] ...

Each line of the files is a text (--limit of them, evenly spread); long ones (lines joined, up to far beyond the
model's limit) and hostile ones are added. A comparison holds if all cosines are at least 0.99999 and no value of two
normalised vectors differs by more than 1e-4. Left out and counted: texts in which Kindred finds nothing to encode, and
those with a character that is newer than the library's Unicode tables. --sts: lines of score, sentence, sentence;
Spearman's correlation by `kindred eval` (--kindred, the program) must agree to three
digits. Exit status 1 when anything does not hold.
"""
import argparse
import importlib.util
import json
import lzma
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer
from transformers import BertConfig, BertModel

COSINE, ABSOLUTE = 0.99999, 1e-4
TINY = "tests/data/core/bert_tiny"
failures = 0


def report(name, ok, text):
    global failures
    failures += not ok
    print(f"{'ok  ' if ok else 'BAD '} {name}: {text}", flush=True)


def tokenizer_compare():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../text_parity/compare.py")
    spec = importlib.util.spec_from_file_location("tokenizer_compare", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_lines(files, limit):
    lines = []
    for f in files:
        with (lzma.open if f.endswith(".xz") else open)(f, "rt", encoding="utf-8", newline="\n") as text:
            lines += [line.rstrip("\n") for line in text if line.strip()]
    return [lines[i * len(lines) // limit] for i in range(limit)] if len(lines) > limit else lines


def long_texts(lines, n):
    """From a few tokens to some thousand."""
    rng = random.Random(3)
    return [" ".join(rng.choices(lines, k=rng.choice([2, 5, 10, 20, 60, 200]))) for _ in range(n)] if lines else []


def kindred(a, folder, texts, *options):
    """Vectors, and which texts have one."""
    sent = b"".join(struct.pack("=I", len(t)) + t for t in (x.encode() for x in texts))
    got = subprocess.run([a.bin + "/embed_stdin", folder, *options], input=sent, stdout=subprocess.PIPE, check=True).stdout
    dim, = struct.unpack_from("=I", got)
    at, rows, known = 4, [], []
    for _ in texts:
        tokens, = struct.unpack_from("=I", got, at)
        at += 4
        known.append(tokens > 0)
        if tokens:
            rows.append(np.frombuffer(got, dtype=np.float32, count=dim, offset=at))
            at += 4 * dim
    return np.array(rows), np.array(known)


def compare(a, name, folder, texts, *options, prompt=None):
    ours, known = kindred(a, folder, texts, *options)
    kept = [t for t, k in zip(texts, known) if k]
    theirs = SentenceTransformer(folder, device="cpu").encode(kept, batch_size=32, prompt=prompt)
    unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (ours.astype(np.float64), theirs.astype(np.float64))]
    cosine = (unit[0] * unit[1]).sum(1)
    worst = np.abs(unit[0] - unit[1]).max()
    length = np.abs(np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1) - 1).max()
    bad = int((cosine < COSINE).sum())
    if bad:
        for i in np.argsort(cosine)[:3]:
            print("   ", f"{cosine[i]:.6f}", repr(kept[i][:120]), file=sys.stderr)
    report(name, bad == 0 and worst <= ABSOLUTE and length < 1e-4,
           f"{len(kept)} texts ({len(texts) - len(kept)} with nothing to encode), least cosine {cosine.min():.8f}, largest "
           f"difference {worst:.2e}, of lengths {length:.1e}")


def change_json(path, **values):
    found = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            found = json.load(f)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(found | values, f)


def weights_as(dtype):
    def change(folder):
        path = folder + "/model.safetensors"
        save_file({k: v.to(dtype) if v.is_floating_point() else v for k, v in load_file(path).items()}, path,
                  metadata={"format": "pt"})
    return change


def shard(folder):
    path = folder + "/model.safetensors"
    all_of = load_file(path)
    names, where = sorted(all_of), {}
    for part in range(2):
        file = f"model-0000{part + 1}-of-00002.safetensors"
        mine = {n: all_of[n] for n in names[part::2]}
        save_file(mine, folder + "/" + file, metadata={"format": "pt"})
        where |= {n: file for n in mine}
    os.remove(path)
    with open(folder + "/model.safetensors.index.json", "w", encoding="utf-8") as f:
        json.dump({"metadata": {"total_size": sum(t.numel() * t.element_size() for t in all_of.values())},
                   "weight_map": where}, f)


def cls_pooling(folder):
    change_json(folder + "/1_Pooling/config.json", pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)


def set_modules(folder, names):
    with open(folder + "/modules.json", "w", encoding="utf-8") as f:
        json.dump([{"idx": i, "name": str(i), "path": path, "type": "sentence_transformers.models." + kind}
                   for i, (path, kind) in enumerate(names)], f)


def dense(activation, normalize=True):
    def change(folder):
        with open(folder + "/config.json", encoding="utf-8") as f:
            width = json.load(f)["hidden_size"]
        out = width // 2
        os.makedirs(folder + "/2_Dense", exist_ok=True)
        torch.manual_seed(5)
        save_file({"linear.weight": torch.randn(out, width) * width ** -0.5 * 3, "linear.bias": torch.randn(out) * 0.1},
                  folder + "/2_Dense/model.safetensors")
        change_json(folder + "/2_Dense/config.json", in_features=width, out_features=out, bias=True,
                    activation_function="torch.nn.modules." + activation)
        names = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")]
        set_modules(folder, names + ([("3_Normalize", "Normalize")] if normalize else []))
    return change


def not_normalized(folder):
    set_modules(folder, [("", "Transformer"), ("1_Pooling", "Pooling")])


def prompts(folder):
    change_json(folder + "/config_sentence_transformers.json", prompts={"query": "query: ", "document": "passage: "},
                default_prompt_name=None)


def random_bert(seed, **config):
    def change(folder):
        with open(folder + "/config.json", encoding="utf-8") as f:
            c = BertConfig(**(json.load(f) | config))
        torch.manual_seed(seed)
        m = BertModel(c)
        with torch.no_grad():
            for p in m.parameters():
                p.add_(torch.randn_like(p) * 0.15)
        m.save_pretrained(folder)
        change_json(folder + "/1_Pooling/config.json", word_embedding_dimension=c.hidden_size)
    return change


def with_copy(model, change, then):
    with tempfile.TemporaryDirectory() as d:
        folder = shutil.copytree(model, d + "/m")
        change(folder)
        then(folder)


def compare_variants(a, texts):
    real = {"sharded weights": shard, "F16 weights": weights_as(torch.float16), "BF16 weights": weights_as(torch.bfloat16),
            "CLS pooling": cls_pooling, "Dense, tanh": dense("activation.Tanh"), "Dense, identity": dense("linear.Identity"),
            "Dense, tanh, not normalised": dense("activation.Tanh", False), "not normalised": not_normalized}
    for name, change in real.items():
        with_copy(a.model, change, lambda folder: compare(a, name, folder, texts))
    with_copy(a.model, prompts, lambda folder: compare(a, "prompt of queries", folder, texts, "query", prompt="query: "))
    with_copy(a.model, prompts, lambda folder: compare(a, "prompt of documents", folder, texts, prompt="passage: "))
    small = {"gelu_new": dict(hidden_act="gelu_new"), "relu": dict(hidden_act="relu"),
             "gelu_pytorch_tanh": dict(hidden_act="gelu_pytorch_tanh"), "1 head": dict(num_attention_heads=1),
             "32 heads of 1": dict(num_attention_heads=32), "3 layers, 40 wide, 5 heads, 100 inside": dict(
                 num_hidden_layers=3, hidden_size=40, num_attention_heads=5, intermediate_size=100),
             "1 layer": dict(num_hidden_layers=1), "eps 1e-5": dict(layer_norm_eps=1e-5)}
    for seed, (name, config) in enumerate(small.items()):
        for products in ("packed", "blas"):
            with_copy(TINY, random_bert(seed, **config),
                      lambda folder: compare(a, f"random, {name}, {products}", folder, texts, products))


def compare_trained(a, texts):
    pairs = "\n".join(t.replace("\n", " ") for t in texts[:64]) + "\n"
    for model, kinds in ((TINY, ("full", "last_layers", "lora", "adapter")), (a.model, ("full", "lora", "adapter"))):
        for kind in kinds:
            with tempfile.TemporaryDirectory() as d:
                # An adapter is one layer that starts as the identity, and learns at a higher rate.
                losses = subprocess.run([a.bin + "/train_export", model, d + "/out", kind, "4", "1e-4"], input=pairs.encode(),
                                        stdout=subprocess.PIPE, check=True).stdout.decode().split()
                before, _ = kindred(a, model, texts[:64])
                after, _ = kindred(a, d + "/out", texts[:64])
                moved = np.abs(before - after).max()
                compare(a, f"trained, {'tiny' if model == TINY else 'given model'}, {kind} (loss {losses[0]} to {losses[-1]}, "
                        f"vectors moved by {moved:.3f})", d + "/out", texts)


def compare_sts(a):
    with open(a.sts, encoding="utf-8") as f:
        rows = [line.rstrip("\n").split("\t") for line in f]
    st = SentenceTransformer(a.model, device="cpu")
    left, right = (st.encode([r[i] for r in rows], batch_size=32) for i in (1, 2))
    cosine = (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    theirs = spearmanr(cosine, [float(r[0]) for r in rows])[0]
    left, right = (kindred(a, a.model, [r[i] for r in rows])[0] for i in (1, 2))
    ours, how = spearmanr((left * right).sum(1), [float(r[0]) for r in rows])[0], "by its vectors"
    report("Spearman, " + how, round(ours, 3) == round(theirs, 3), f"Kindred {ours:.5f}, sentence-transformers {theirs:.5f}")
    if a.kindred:
        out = subprocess.run([a.kindred, "eval", "--model", a.model, "--task", "sts", "--data", a.sts], stdout=subprocess.PIPE)
        value = json.loads(out.stdout)["spearman"] if out.returncode == 0 else float("nan")
        report("Spearman, kindred eval", abs(value - theirs) < 5e-4, f"Kindred {value:.4f}, sentence-transformers {theirs:.5f}")


def main():
    a = argparse.ArgumentParser()
    a.add_argument("files", nargs="+")
    a.add_argument("--bin", default="build", help="where embed_stdin and train_export are")
    a.add_argument("--model", required=True)
    a.add_argument("--sts")
    a.add_argument("--kindred", help="the program, for --sts")
    a.add_argument("--limit", type=int, default=4000)
    a.add_argument("--variant-texts", type=int, default=150)
    a.add_argument("--only", choices=["texts", "variants", "trained", "sts"])
    a = a.parse_args()
    torch.set_num_threads(2)
    lines = read_lines(a.files, a.limit)
    some = lines[::max(1, len(lines) // a.variant_texts)] + long_texts(lines, 20)
    if a.only in (None, "texts"):
        tokens = tokenizer_compare()
        differ = tokens.known_to_differ()
        strange = tokens.hostile()
        strange = strange[:60] + random.Random(9).sample(strange, min(len(strange), 1500))
        strange = [t[:100_000] for t in strange if not any(c in differ for c in t)]
        compare(a, "lines", a.model, lines)
        compare(a, "long texts", a.model, long_texts(lines, 150))
        compare(a, "hostile texts", a.model, strange)
        compare(a, "lines, OpenBLAS", a.model, lines[::4], "blas")
        compare(a, "lines, packed", a.model, lines[::4], "packed")
    if a.only in (None, "variants"):
        compare_variants(a, some)
    if a.only in (None, "trained"):
        compare_trained(a, some)
    if a.sts and a.only in (None, "sts"):
        compare_sts(a)
    sys.exit(failures != 0)


if __name__ == "__main__":
    main()

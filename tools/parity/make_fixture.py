#!/usr/bin/env python3
"""Write tests/data/core/bert_tiny/: a small random BERT sentence encoder and what sentence-transformers and
PyTorch make of it, so that the tests need neither.

    python3 -m venv VENV && VENV/bin/pip install torch sentence-transformers
    VENV/bin/python tools/parity/make_fixture.py tests/data/core/bert_tiny

All is computed in double precision and stored as F32; texts are packed: `ids` of all texts one after
another, text i is ids[starts[i]:starts[i+1]], [CLS] and [SEP] included, cut to max_seq_length.

The folder itself: 2 layers, 32 wide, 4 heads, 64 inside, mean pooling, normalised, pooler.dense present
and unused. 2_Dense/ (32 to 16, tanh) is not named in modules.json: a test makes the variant.

expected.safetensors, [texts, 32] unless said otherwise:
    ids, starts           I32
    hidden.0 1 2          [tokens of text 0, 32]: after the embeddings, after each layer
    embedding             mean pooling, normalised
    embedding_raw         not normalised
    embedding_cls         pooling_mode_cls_token, normalised
    embedding_dense_tanh  [texts, 16]: mean, 2_Dense as it stands, normalised
    embedding_dense_identity  the same with the identity as its activation
    embedding_gelu_new, embedding_relu  the same weights with that hidden_act
    embedding_query       with the prompt "ask: " before each text, the prompt's tokens pooled too
    ids_query, starts_query   I32

train.safetensors: the batch (ids_a, starts_a, ids_b, starts_b), InfoNCE of pair i against the batch, both
directions, temperature 0.05, no dropout:
    losses          [11]: before each of ten steps of AdamW (rate 1e-3, betas 0.9 and 0.999, eps 1e-8, decay
                    0.01, none for biases and LayerNorm), and after the last
    grad.NAME       gradient at the first step, of every parameter but pooler.dense
    final.NAME      some parameters after the tenth step
    final_sums      [parameters, 2]: sum and sum of squares of each after the tenth step, by sorted name.
The gradient of attention.self.key.bias is zero up to rounding, so Adam makes of it what it likes and no loss
sees it: leave its final values out.
"""
import json
import os
import shutil
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = ["the old ship left the harbour at night", "a cat sat on the mat", "Rain.", "x", "Where is the nearest station?",
         "the boat sailed out of the port after dark", "cats and dogs, dogs and cats", "UPPER lower MiXeD Case",
         "it rained and rained and rained and it rained until the river left its bed and the old town stood in it for weeks",
         "is the train late again?", "caf\u00e9 na\u00efve \u00fcber", "1984 was a year", "3.14 + 2.72 = 5.86",
         "don't stop -- not now!", "\u732b", "[UNK] said the parrot", "a a a a", "the station is near the river",
         "an old cat slept on the warm stones of the harbour", "tea, bread and rain"]
PAIRS = [("a cat sat on the mat", "the cat is on a mat"), ("where is the station", "the nearest station is near the river"),
         ("rain", "it rained until the river left its bed"), ("the old ship left the harbour", "a boat sailed out of port"),
         ("tea and bread", "bread with tea, please"), ("the train is late", "late again, said the man at the train"),
         ("dogs", "dogs and cats"), ("the stones are warm", "an old cat slept on the warm stones")]
WIDTH, LAYERS, HEADS, INSIDE, POSITIONS, MAX_TOKENS, DENSE = 32, 2, 4, 64, 32, 24, 16


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        f.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def make_tokenizer():
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    texts = [x for x in TEXTS if "\u732b" not in x] + [x for p in PAIRS for x in p]
    t.train_from_iterator(texts * 3, trainers.WordPieceTrainer(
        vocab_size=160, special_tokens=SPECIALS, show_progress=False, min_frequency=2))
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(s, t.token_to_id(s)) for s in ("[CLS]", "[SEP]")])
    return t


def make_model(vocab):
    torch.manual_seed(11)
    m = BertModel(BertConfig(vocab_size=vocab, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                             intermediate_size=INSIDE, max_position_embeddings=POSITIONS, layer_norm_eps=1e-12))
    with torch.no_grad():
        for name, p in m.named_parameters():
            if "LayerNorm" in name:
                p.copy_((1.0 if name.endswith("weight") else 0.0) + 0.1 * torch.randn_like(p))
            elif name.endswith("bias"):
                p.copy_(0.1 * torch.randn_like(p))
            else:
                p.copy_(torch.randn_like(p) * (0.5 if "embeddings" in name else 1.2 * p.shape[1] ** -0.5))
    return m.eval()


def write_modules(folder, dense=False, normalize=True):
    names = [("", "Transformer"), ("1_Pooling", "Pooling")] + ([("2_Dense", "Dense")] if dense else [])
    if normalize:
        names.append((f"{len(names)}_Normalize", "Normalize"))
    write_json(folder + "/modules.json", [{"idx": i, "name": str(i), "path": path, "type": "sentence_transformers.models." + kind}
                                          for i, (path, kind) in enumerate(names)])


def write_pooling(folder, cls=False):
    os.makedirs(folder + "/1_Pooling", exist_ok=True)
    write_json(folder + "/1_Pooling/config.json", {
        "word_embedding_dimension": WIDTH, "pooling_mode_cls_token": cls, "pooling_mode_mean_tokens": not cls,
        "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False})


def write_dense(folder, activation):
    write_json(folder + "/2_Dense/config.json", {"in_features": WIDTH, "out_features": DENSE, "bias": True,
                                                 "activation_function": "torch.nn.modules." + activation})


def write_folder(folder):
    t = make_tokenizer()
    PreTrainedTokenizerFast(tokenizer_object=t, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
                            pad_token="[PAD]", mask_token="[MASK]", model_max_length=POSITIONS).save_pretrained(folder)
    with open(folder + "/tokenizer.json", "w", encoding="utf-8") as f:
        f.write(json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")
    m = make_model(t.get_vocab_size())
    m.save_pretrained(folder)
    write_json(folder + "/sentence_bert_config.json", {"max_seq_length": MAX_TOKENS, "do_lower_case": False})
    write_modules(folder)
    write_pooling(folder)
    os.makedirs(folder + "/2_Dense", exist_ok=True)
    save_file({"linear.weight": torch.randn(DENSE, WIDTH) * 0.3, "linear.bias": torch.randn(DENSE) * 0.1},
              folder + "/2_Dense/model.safetensors")
    write_dense(folder, "activation.Tanh")
    with open(folder + "/texts.txt", "w", encoding="utf-8") as f:
        f.write("\n".join(TEXTS) + "\n")
    return t


def packed(t, texts, name=""):
    ids = [t.encode(x).ids for x in texts]
    starts = np.cumsum([0] + [len(i) for i in ids])
    return {"ids" + name: torch.tensor(sum(ids, []), dtype=torch.int32),
            "starts" + name: torch.tensor(starts, dtype=torch.int32)}


def embed(folder, prompt=None):
    st = SentenceTransformer(folder, device="cpu").double()
    return torch.from_numpy(st.encode(TEXTS, batch_size=1, prompt=prompt))


def variant(folder, change, prompt=None):
    with tempfile.TemporaryDirectory() as d:
        copy = shutil.copytree(folder, d + "/m")
        change(copy)
        return embed(copy, prompt)


def hidden_act(name):
    def change(folder):
        with open(folder + "/config.json", encoding="utf-8") as f:
            config = json.load(f)
        write_json(folder + "/config.json", config | {"hidden_act": name})
    return change


def with_dense(activation):
    def change(folder):
        write_modules(folder, dense=True)
        write_dense(folder, activation)
    return change


def write_expected(folder, t):
    t.enable_truncation(MAX_TOKENS)
    out = packed(t, TEXTS) | packed(t, ["ask: " + x for x in TEXTS], "_query")
    m = BertModel.from_pretrained(folder, attn_implementation="eager").double().eval()
    with torch.no_grad():
        hidden = m(torch.tensor([t.encode(TEXTS[0]).ids]), output_hidden_states=True).hidden_states
    out |= {f"hidden.{i}": h[0] for i, h in enumerate(hidden)}
    out |= {"embedding": embed(folder),
            "embedding_raw": variant(folder, lambda f: write_modules(f, normalize=False)),
            "embedding_cls": variant(folder, lambda f: write_pooling(f, cls=True)),
            "embedding_dense_tanh": variant(folder, with_dense("activation.Tanh")),
            "embedding_dense_identity": variant(folder, with_dense("linear.Identity")),
            "embedding_gelu_new": variant(folder, hidden_act("gelu_new")),
            "embedding_relu": variant(folder, hidden_act("relu")),
            "embedding_query": variant(folder, lambda f: None, prompt="ask: ")}
    stored(out, folder + "/expected.safetensors")


def stored(tensors, path):
    save_file({k: (v if v.dtype == torch.int32 else v.detach().float()).clone().contiguous() for k, v in tensors.items()}, path)


def unit_rows(m, t, texts):
    rows = [m(torch.tensor([t.encode(x).ids])).last_hidden_state[0].mean(0) for x in texts]
    return torch.nn.functional.normalize(torch.stack(rows), dim=1)


def loss_of(m, t):
    a, b = (unit_rows(m, t, [p[side] for p in PAIRS]) for side in (0, 1))
    s = a @ b.T / 0.05
    label = torch.arange(len(PAIRS))
    return (torch.nn.functional.cross_entropy(s, label) + torch.nn.functional.cross_entropy(s.T, label)) / 2


def write_train(folder, t):
    out = packed(t, [p[0] for p in PAIRS], "_a") | packed(t, [p[1] for p in PAIRS], "_b")
    m = BertModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager").double().eval()
    params = dict(m.named_parameters())
    decay = [p for n, p in params.items() if not n.endswith("bias") and "LayerNorm" not in n]
    plain = [p for n, p in params.items() if n.endswith("bias") or "LayerNorm" in n]
    adam = torch.optim.AdamW([{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
                             lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    losses = []
    for step in range(11):
        loss = loss_of(m, t)
        losses.append(loss.item())
        adam.zero_grad()
        loss.backward()
        if step == 0:
            out |= {"grad." + n: p.grad.clone() for n, p in params.items()}
        if step < 10:
            adam.step()
    out["losses"] = torch.tensor(losses, dtype=torch.float64)
    for n in ("embeddings.position_embeddings.weight", "embeddings.token_type_embeddings.weight", "embeddings.LayerNorm.weight",
              "encoder.layer.0.attention.self.query.weight", "encoder.layer.0.attention.self.key.weight",
              "encoder.layer.1.attention.output.dense.bias", "encoder.layer.1.intermediate.dense.weight",
              "encoder.layer.1.output.LayerNorm.bias"):
        out["final." + n] = params[n]
    out["final_sums"] = torch.stack([torch.stack([p.sum(), (p * p).sum()]) for _, p in sorted(params.items())])
    stored(out, folder + "/train.safetensors")
    print("losses", " ".join(f"{x:.6f}" for x in losses))


def main(folder):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    t = write_folder(folder)
    write_expected(folder, t)
    write_train(folder, t)


if __name__ == "__main__":
    main(sys.argv[1])

"""A BERT sentence encoder (mean pooling, normalised) in PyTorch 1.13 or later, with the parameters' names and
shapes of the model folder; query, key and value are one product, attention is PyTorch's own where it has one."""
import json

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        width, inside = c["hidden_size"], c["intermediate_size"]
        self.heads = c["num_attention_heads"]
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=c["layer_norm_eps"])
        self.up = nn.Linear(width, inside)
        self.down = nn.Linear(inside, width)
        self.norm2 = nn.LayerNorm(width, eps=c["layer_norm_eps"])

    def attend(self, x, bias):
        n, length, width = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if hasattr(F, "scaled_dot_product_attention"):
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        else:
            score = q @ k.transpose(2, 3) * (width // self.heads) ** -0.5
            mixed = torch.softmax(score if bias is None else score + bias, dim=3) @ v
        return mixed.transpose(1, 2).reshape(n, length, width)

    def forward(self, x, bias):
        x = self.norm1(x + self.out(self.attend(x, bias)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class Bert(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.word = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.position = nn.Embedding(c["max_position_embeddings"], c["hidden_size"])
        self.kind = nn.Embedding(c["type_vocab_size"], c["hidden_size"])
        self.norm = nn.LayerNorm(c["hidden_size"], eps=c["layer_norm_eps"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))

    def forward(self, ids, mask=None):
        """ids, mask [texts, length]; mask None: no padding. Unit rows."""
        x = self.norm(self.word(ids) + self.position.weight[:ids.shape[1]] + self.kind.weight[0])
        bias = None if mask is None else (1.0 - mask[:, None, None, :].to(x.dtype)) * -1e4
        for layer in self.layers:
            x = layer(x, bias)
        if mask is None:
            return F.normalize(x.mean(1), dim=1)
        keep = mask[:, :, None].to(x.dtype)
        return F.normalize((x * keep).sum(1) / keep.sum(1), dim=1)


def load(model_dir):
    with open(model_dir + "/config.json", encoding="utf-8") as f:
        c = json.load(f)
    if c.get("hidden_act") != "gelu":
        raise ValueError("only hidden_act gelu")
    p = load_file(model_dir + "/model.safetensors")
    names = {"word.weight": "embeddings.word_embeddings.weight", "position.weight": "embeddings.position_embeddings.weight",
             "kind.weight": "embeddings.token_type_embeddings.weight"}
    state = {mine: p[theirs].float() for mine, theirs in names.items()}
    places = {"norm": "embeddings.LayerNorm"}
    for i in range(c["num_hidden_layers"]):
        at = f"encoder.layer.{i}."
        for end in ("weight", "bias"):
            state[f"layers.{i}.qkv.{end}"] = torch.cat(
                [p[f"{at}attention.self.{n}.{end}"].float() for n in ("query", "key", "value")])
        for mine, theirs in {"out": "attention.output.dense", "norm1": "attention.output.LayerNorm", "up": "intermediate.dense",
                             "down": "output.dense", "norm2": "output.LayerNorm"}.items():
            places[f"layers.{i}.{mine}"] = at + theirs
    for mine, theirs in places.items():
        state |= {f"{mine}.{end}": p[f"{theirs}.{end}"].float() for end in ("weight", "bias")}
    m = Bert(c)
    m.load_state_dict(state)
    return m

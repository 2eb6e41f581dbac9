"""A BERT sentence encoder (mean pooling, normalised) as ONNX graphs, made from model.safetensors: with the
standard's operators alone, as an export has them, and with the fused ones of ONNX Runtime."""
import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file


class Graph:
    def __init__(self):
        self.nodes, self.weights, self.n = [], [], 0

    def weight(self, value, name=None):
        self.n += 1
        name = name or f"w{self.n}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def f32(self, value):
        return self.weight(np.asarray(value, dtype=np.float32))

    def i64(self, *values):
        return self.weight(np.array(values, dtype=np.int64))

    def op(self, kind, *inputs, domain="", outputs=1, **attributes):
        self.n += 1
        names = [f"t{self.n}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def fused(self, kind, *inputs, **attributes):
        return self.op(kind, *inputs, domain="com.microsoft", **attributes)

    def save(self, path, width):
        ids, mask = (helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "length"]) for n in ("ids", "mask"))
        out = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", width])
        graph = helper.make_graph(self.nodes, "bert", [ids, mask], [out], self.weights)
        onnx.save(helper.make_model(graph, ir_version=9, opset_imports=[
            helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]), path)


def embed(g, p, eps):
    """Token type 0 is part of the positions."""
    position = p["embeddings.position_embeddings.weight"] + p["embeddings.token_type_embeddings.weight"][0]
    length = g.op("Slice", g.op("Shape", "ids"), g.i64(1), g.i64(2))
    x = g.op("Add", g.op("Gather", g.f32(p["embeddings.word_embeddings.weight"]), "ids"),
             g.op("Unsqueeze", g.op("Slice", g.f32(position), g.i64(0), length, g.i64(0)), g.i64(0)))
    return g.op("LayerNormalization", x, g.f32(p["embeddings.LayerNorm.weight"]), g.f32(p["embeddings.LayerNorm.bias"]),
                axis=-1, epsilon=eps)


def pool(g, x):
    """Mean over the mask, then unit length."""
    mask = g.op("Unsqueeze", g.op("Cast", "mask", to=TensorProto.FLOAT), g.i64(2))
    mean = g.op("Div", g.op("ReduceSum", g.op("Mul", x, mask), g.i64(1), keepdims=0),
                g.op("ReduceSum", mask, g.i64(1), keepdims=0))
    norm = g.op("Max", g.op("ReduceL2", mean, axes=[1], keepdims=1), g.f32(1e-12))
    g.nodes.append(helper.make_node("Div", [mean, norm], ["embedding"]))


def plain_layer(g, x, p, at, c, bias):
    heads, width = c["num_attention_heads"], c["hidden_size"] // c["num_attention_heads"]
    dense = lambda x, name: g.op("Add", g.op("MatMul", x, g.f32(p[at + name + ".weight"].T)), g.f32(p[at + name + ".bias"]))
    norm = lambda x, name: g.op("LayerNormalization", x, g.f32(p[at + name + ".weight"]), g.f32(p[at + name + ".bias"]),
                                axis=-1, epsilon=c["layer_norm_eps"])
    split = lambda x, order: g.op("Transpose", g.op("Reshape", x, g.i64(0, 0, heads, width)), perm=order)
    q = split(dense(x, "attention.self.query"), [0, 2, 1, 3])
    k = split(dense(x, "attention.self.key"), [0, 2, 3, 1])
    v = split(dense(x, "attention.self.value"), [0, 2, 1, 3])
    score = g.op("Add", g.op("Div", g.op("MatMul", q, k), g.f32(np.sqrt(width))), bias)
    mixed = g.op("Transpose", g.op("MatMul", g.op("Softmax", score, axis=-1), v), perm=[0, 2, 1, 3])
    mixed = g.op("Reshape", mixed, g.i64(0, 0, heads * width))
    x = norm(g.op("Add", dense(mixed, "attention.output.dense"), x), "attention.output.LayerNorm")
    up = dense(x, "intermediate.dense")
    erf = g.op("Add", g.op("Erf", g.op("Div", up, g.f32(np.sqrt(2.0)))), g.f32(1.0))
    gelu = g.op("Mul", g.op("Mul", up, erf), g.f32(0.5))
    return norm(g.op("Add", dense(gelu, "output.dense"), x), "output.LayerNorm")


def fused_layer(g, x, p, at, c, mask):
    matrix = lambda x, name: g.op("MatMul", x, g.f32(p[at + name + ".weight"].T))
    norm = lambda x, skip, name, bias: g.fused(
        "SkipLayerNormalization", x, skip, g.f32(p[at + name + ".weight"]), g.f32(p[at + name + ".bias"]),
        g.f32(p[at + bias + ".bias"]), epsilon=c["layer_norm_eps"])
    qkv = ["attention.self." + n for n in ("query", "key", "value")]
    mixed = g.fused("Attention", x, g.f32(np.concatenate([p[at + n + ".weight"].T for n in qkv], axis=1)),
                    g.f32(np.concatenate([p[at + n + ".bias"] for n in qkv])), mask, num_heads=c["num_attention_heads"])
    x = norm(matrix(mixed, "attention.output.dense"), x, "attention.output.LayerNorm", "attention.output.dense")
    gelu = g.fused("BiasGelu", matrix(x, "intermediate.dense"), g.f32(p[at + "intermediate.dense.bias"]))
    return norm(matrix(gelu, "output.dense"), x, "output.LayerNorm", "output.dense")


def build(model_dir, path, fused):
    with open(model_dir + "/config.json", encoding="utf-8") as f:
        c = json.load(f)
    if c.get("hidden_act") != "gelu":
        raise ValueError("only hidden_act gelu")
    p = {k: v.astype(np.float32) for k, v in load_file(model_dir + "/model.safetensors").items()}
    g = Graph()
    x = embed(g, p, c["layer_norm_eps"])
    if fused:
        mask = g.op("Cast", "mask", to=TensorProto.INT32)
    else:
        mask = g.op("Unsqueeze", g.op("Cast", "mask", to=TensorProto.FLOAT), g.i64(1, 2))
        mask = g.op("Mul", g.op("Sub", g.f32(1.0), mask), g.f32(-10000.0))
    for i in range(c["num_hidden_layers"]):
        x = (fused_layer if fused else plain_layer)(g, x, p, f"encoder.layer.{i}.", c, mask)
    pool(g, x)
    g.save(path, c["hidden_size"])
    return c

"""The stock OpenAI client of Python against a running server.

    python openai_python.py http://127.0.0.1:8080

Vectors asked for in every way must be those that /embed gives; errors must become the client's own
exceptions. Exit status 1 at the first that does not.
"""
import json
import math
import sys
import urllib.request

import openai

BASE = sys.argv[1]
TEXTS = ["a small domesticated feline", "instrument for measuring earthquakes", "naïve café ☕", "x" * 3000]


def embed(texts, **more):
    body = json.dumps({"input": texts, **more}).encode()
    request = urllib.request.Request(BASE + "/embed", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def check(what, ok):
    if not ok:
        sys.exit(f"openai (Python): {what}")


def same(a, b):
    return len(a) == len(b) and all(math.isclose(x, y, rel_tol=1e-6, abs_tol=1e-7) for x, y in zip(a, b))


def raises(kind, call):
    try:
        call()
    except kind as e:
        return e
    sys.exit(f"openai (Python): {kind.__name__} was expected")


client = openai.OpenAI(base_url=BASE + "/v1", api_key="none", max_retries=0)
want = embed(TEXTS)["embeddings"]

for options in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}, {"user": "me"}):
    got = client.embeddings.create(model="text-small", input=TEXTS, **options)
    check(f"{options}: number of vectors", len(got.data) == len(TEXTS))
    for i, row in enumerate(got.data):
        vector = row.embedding
        if isinstance(vector, str):  # asked for by name, base64 is left to the caller
            import base64
            import struct
            raw = base64.b64decode(vector)
            vector = struct.unpack(f"<{len(raw) // 4}f", raw)
        check(f"{options}: vector {i}", row.index == i and same(vector, want[i]))
    check("model", got.model == "text-small")
    check("usage", got.usage.prompt_tokens > 0 and got.usage.total_tokens == got.usage.prompt_tokens)

one = client.embeddings.create(model="text-small@1", input=TEXTS[0], dimensions=64)
check("dimensions", same(one.data[0].embedding, embed(TEXTS[0], dimensions=64)["embeddings"][0]))

models = client.models.list()
check("models", "text-small" in [m.id for m in models])
check("one model", client.models.retrieve("text-small").owned_by == "kindred")

e = raises(openai.NotFoundError, lambda: client.embeddings.create(model="gpt", input="a"))
check("code of an unknown model", e.code == "model_not_found" and e.param == "model")
e = raises(openai.BadRequestError, lambda: client.embeddings.create(model="text-small", input=""))
check("an empty text", e.param == "input")
raises(openai.BadRequestError, lambda: client.embeddings.create(model="text-small", input=[]))
e = raises(openai.BadRequestError, lambda: client.embeddings.create(model="text-small", input=[1, 2, 3]))
check("token ids", "text" in e.message)
raises(openai.BadRequestError, lambda: client.embeddings.create(model="text-small", input="a", dimensions=100000))
raises(openai.NotFoundError, lambda: client.models.retrieve("gpt"))
print("openai (Python)", openai.__version__, "ok")

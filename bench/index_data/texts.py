"""Texts of the sets minilm and tfidf, a text a line, in files that bench/index_data/make.sh goes on with.

    texts.py minilm WORDNET OUT         -> OUT/minilm.base.txt, OUT/minilm.query.txt
    texts.py tfidf WORDNET OUT < Translation-en of APT
                                        -> OUT/tfidf.base.txt, OUT/tfidf.query.txt

Equal inputs give equal files.
"""
import random
import re
import sys

QUERIES, BASE = 2000, 200_000


def glosses(folder):
    """(definition, its example sentences) of each synset."""
    for part in ("noun", "verb", "adj", "adv"):
        with open(f"{folder}/data.{part}", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("  "):
                    continue
                gloss = line.split(" | ", 1)[1].strip()
                definition = re.split(r'[;:,]?\s*"', gloss, maxsplit=1)[0].strip()
                yield definition or gloss, re.findall(r'"([^"]+)"', gloss)


def unique(texts):
    return list(dict.fromkeys(texts))


def plain(text):
    return " ".join(re.findall(r"\w+", text.lower()))


def descriptions(lines):
    """Each package's synopsis and the sentences of its long description."""
    paragraph = []

    def sentences():
        text = " ".join(paragraph)
        paragraph.clear()
        return re.split(r"(?<=[.!?])\s+(?=[A-Z])", text) if text else []
    for line in lines:
        line = line.rstrip("\n")
        if line.startswith("Description-en: "):
            yield line[len("Description-en: "):]
        elif line.startswith("  ") or line == " ." or not line.startswith(" "):
            yield from sentences()  # verbatim lines (lists, mostly) are left out, and end a paragraph
        else:
            item = re.match(r" [*\-+o]\s+(.*)", line)
            if item:
                yield from sentences()
            paragraph.append(item[1] if item else line.strip())
    yield from sentences()


def write(path, texts):
    with open(path, "w", encoding="utf-8") as out:
        out.writelines(t + "\n" for t in texts)
    print(f"{path}: {len(texts)} texts", file=sys.stderr)


def split(texts, rng):
    """BASE of the texts at most, and held-out queries whose words in this order are in none of them."""
    texts = unique(texts)
    rng.shuffle(texts)
    queries, base = texts[:QUERIES], texts[QUERIES:]
    held = {plain(t) for t in queries}
    return [t for t in base if plain(t) not in held][:BASE], queries


def minilm(wordnet, out):
    rng = random.Random(1)
    pairs = list(glosses(wordnet))
    base, queries = split([definition for definition, _ in pairs], rng)
    known = {plain(t) for t in base}
    examples = [e.strip() for _, es in pairs for e in es]
    examples = [e for e in unique(examples) if len(e.split()) >= 4 and plain(e) not in known]
    # Half definitions, half sentences of another kind: both are what somebody searches by.
    queries = queries[:QUERIES // 2] + rng.sample(examples, QUERIES // 2)
    rng.shuffle(queries)
    write(f"{out}/minilm.base.txt", base)
    write(f"{out}/minilm.query.txt", queries)


def tfidf(wordnet, out):
    texts = [t for t in descriptions(sys.stdin) if 3 <= len(t.split()) <= 60]
    texts += [definition for definition, _ in glosses(wordnet)]
    base, queries = split(texts, random.Random(2))
    write(f"{out}/tfidf.base.txt", base)
    write(f"{out}/tfidf.query.txt", queries)


{"minilm": minilm, "tfidf": tfidf}[sys.argv[1]](*sys.argv[2:])

"""Reads the pair and sentence files, less what is held out."""

import dataclasses
import lzma
import random

import heldout

MAX_CHARACTERS = 400

PAIRS = (
    "wordnet_word_gloss",
    "wordnet_lemmas_gloss",      # made here: all words of a gloss in one text
    "wordnet_hypernym_gloss",
    "wordnet_synonyms",
    "wordnet_gloss_example",
    "debian_name_short",
    "debian_short_long",
    "captions_coco_val2017",
    "tatoeba_pivot_paraphrases",
    "ppdb_xl_words",
)

# What the teacher reads: name, file, column, most texts, fewest words.
TAUGHT = (
    ("captions", "captions_coco_val2017.tsv", 0, 30000, 1),
    ("tatoeba", "tatoeba_english.txt", 0, 130000, 4),
    ("glosses", "wordnet_word_gloss.tsv", 1, 40000, 3),
    ("examples", "wordnet_gloss_example.tsv", 1, 50000, 3),
    ("packages", "debian_name_short.tsv", 1, 30000, 3),
)


def read_rows(folder, file):
    """Rows of a tab-separated file, plain or .xz, as lists of columns."""
    path = folder / file
    opened = open(path, encoding="utf-8", newline="\n") if path.exists() else \
        lzma.open(f"{path}.xz", "rt", encoding="utf-8", newline="\n")
    with opened as f:
        return [line.rstrip("\n").split("\t") for line in f]


@dataclasses.dataclass
class Corpus:
    pairs: dict              # name -> pairs of texts, in the order of the file, none twice
    taught: dict             # name -> texts that the teacher reads
    dropped: int             # rows left out because a text of theirs is held out


def distinct(corpus):
    """All texts, each once."""
    texts = {}
    for rows in corpus.pairs.values():
        for row in rows:
            texts.update(dict.fromkeys(row))
    for rows in corpus.taught.values():
        texts.update(dict.fromkeys(rows))
    return list(texts)


def lemmas_gloss(rows):
    """(words joined by commas, gloss) for every gloss that has several words."""
    words = {}
    for word, gloss in rows:
        words.setdefault(gloss, []).append(word)
    return [(", ".join(w), gloss) for gloss, w in words.items() if len(w) > 1]


def load(folder, seed):
    keys, memory = heldout.load(), {}

    def allowed(text):
        if text not in memory:
            memory[text] = not heldout.holds(keys, text)
        return memory[text]

    def cut(text):
        # In the files a carriage return would belong to the line end.
        return text[:MAX_CHARACTERS].replace("\r", " ")

    pairs, taught, dropped = {}, {}, 0
    for name in PAIRS:
        if name == "wordnet_lemmas_gloss":
            rows = lemmas_gloss(read_rows(folder, "wordnet_word_gloss.tsv"))
        else:
            rows = [row[:2] for row in read_rows(folder, name + ".tsv")]
        kept = [(cut(a), cut(b)) for a, b in rows if allowed(a) and allowed(b)]
        dropped += len(rows) - len(kept)
        pairs[name] = list(dict.fromkeys(kept))
    for name, file, column, most, words in TAUGHT:
        texts = sorted({row[column] for row in read_rows(folder, file)})
        texts = [t for t in texts if len(t.split()) >= words and allowed(t)]
        random.Random(seed).shuffle(texts)
        taught[name] = [cut(t) for t in texts[:most]]
    return Corpus(pairs, taught, dropped)

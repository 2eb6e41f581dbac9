"""TF-IDF of texts, cut down to 384 dimensions by a truncated SVD, rows of length 1.

    tfidf.py BASE.txt QUERY.txt OUT     -> OUT/tfidf.base.npy, OUT/tfidf.query.npy

A text that has no word of the vocabulary is left out.
"""
import sys

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize


def lines(path):
    with open(path, encoding="utf-8") as f:
        return f.read().splitlines()


def save(path, rows):
    norms = np.linalg.norm(rows, axis=1)
    np.save(path, np.ascontiguousarray(normalize(rows[norms > 1e-6]), dtype=np.float32))


base, query, out = sys.argv[1:]
words = TfidfVectorizer(min_df=2, sublinear_tf=True, dtype=np.float32)
counts = words.fit_transform(lines(base))
svd = TruncatedSVD(n_components=384, n_iter=4, random_state=1)
save(f"{out}/tfidf.base.npy", svd.fit_transform(counts))
save(f"{out}/tfidf.query.npy", svd.transform(words.transform(lines(query))))

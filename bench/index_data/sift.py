"""SIFT descriptors (128 values of 0...255) of pictures.

    sift.py PICTURES OUT                -> OUT/sift.base.npy, OUT/sift.query.npy

At most 60 of a picture, the strongest; each descriptor once; queries from pictures that are held out.
"""
import hashlib
import multiprocessing
import pathlib
import random
import sys

import cv2
import numpy as np

EACH, SIDE, BASE, QUERIES = 60, 512, 300_000, 2000


def gray(path):
    """At most 512 pixels a side, on white; None: no picture."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.ndim != 3 or picture.dtype != np.uint8:
        return None
    scale = SIDE / max(picture.shape)
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if picture.shape[2] == 4:
        alpha = picture[:, :, 3:].astype(np.float32) / 255
        picture = (picture[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)


def describe(path):
    """(hash of the file, descriptors or None)"""
    cv2.setNumThreads(1)
    picture = gray(path)
    rows = None if picture is None else cv2.SIFT_create(nfeatures=EACH).detectAndCompute(picture, None)[1]
    return hashlib.sha256(path.read_bytes()).digest(), None if rows is None else rows[:EACH].copy()


def descriptors(pool, paths):
    """Of each different file, each different row once, in any order."""
    found = dict(pool.map(describe, paths, chunksize=16))
    rows = np.unique(np.concatenate([r for r in found.values() if r is not None]), axis=0).astype(np.float32)
    return rows[np.random.default_rng(1).permutation(len(rows))]


def main(folder, out):
    pictures = sorted(p for p in pathlib.Path(folder).rglob("*.png") if p.is_file())
    random.Random(3).shuffle(pictures)
    held = len(pictures) // 20
    with multiprocessing.Pool() as pool:
        query = descriptors(pool, pictures[:held])[:QUERIES]
        base = descriptors(pool, pictures[held:])
    known = {row.tobytes() for row in query}
    base = base[[row.tobytes() not in known for row in base]][:BASE]
    print(f"{len(pictures)} pictures: {len(base)} descriptors, {len(query)} queries", file=sys.stderr)
    np.save(f"{out}/sift.base.npy", base)
    np.save(f"{out}/sift.query.npy", query)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What the peers of bench_encode_bert have in common: reading a file of token ids, cutting it into padded
batches, and answering requests, a line each, on standard input.

    run FILE ORDER BATCH THREADS SECONDS PART PARTS
        -> TOKENS_PER_S MEDIAN_MS HOW             tokens without padding; HOW in one word
        SECONDS 0: every batch of this part (of PARTS) once; else again and again for that long.
        ORDER: arrival, or sorted by length.
    vector FILE THREADS
        -> the values of the first text's vector

The file: uint32 n, n + 1 times uint32 where each text starts, then the ids (native byte order).
With PEER_CLOCK=cpu in the environment a caller's own CPU time is counted, for machines that others use too.
The first line written is "ready NAME VERSION"; one that begins with "no" says why there is no peer.
"""
import ctypes
import os
import statistics
import sys
import threading
import time

import numpy as np

clock = time.thread_time if os.environ.get("PEER_CLOCK") == "cpu" else time.perf_counter


def blas_threads(n):
    """Debian's PyTorch leaves its products to OpenBLAS, which has threads of its own."""
    try:
        ctypes.CDLL("libopenblas.so.0").openblas_set_num_threads(n)
    except (OSError, AttributeError):
        pass


def read_texts(path):
    raw = np.fromfile(path, dtype=np.uint32)
    n = int(raw[0])
    starts = raw[1:n + 2].astype(np.int64)
    ids = raw[n + 2:].astype(np.int64)
    return [ids[starts[i]:starts[i + 1]] for i in range(n)]


def pad(texts):
    longest = max(len(t) for t in texts)
    ids = np.zeros((len(texts), longest), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, t in enumerate(texts):
        ids[row, :len(t)] = t
        mask[row, :len(t)] = 1
    return ids, mask


class Batches:
    """Padded batches of files, made once."""

    def __init__(self):
        self.known = {}

    def get(self, path, order, size):
        key = (path, order, size)
        if key not in self.known:
            texts = read_texts(path)
            if order == "sorted":
                texts = sorted(texts, key=len)
            self.known[key] = [pad(texts[i:i + size]) for i in range(0, len(texts), size)]
        return self.known[key]


def tokens_of(batch):
    return int(batch[1].sum())


def run_one(call, batches, seconds, offset=0, stride=1):
    """Tokens a second, and times of the calls."""
    times, tokens, at = [], 0, offset
    begin = now = clock()
    while at < len(batches) if seconds == 0 else now - begin < seconds:
        batch = batches[at % len(batches)]
        call(*batch)
        done = clock()
        times.append(done - now)
        now = done
        tokens += tokens_of(batch)
        at += stride
    return tokens / sum(times) if times else 0, times


def run_callers(call, batches, seconds, callers):
    """Several threads that share the batches."""
    if callers == 1:
        return run_one(call, batches, seconds)
    results = [None] * callers

    def work(i):
        results[i] = run_one(call, batches, seconds, i, callers)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(callers)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return sum(r[0] for r in results), sum((r[1] for r in results), [])


def serve(name, version, prepare, callers_of=lambda threads: 1):
    """prepare(threads, batches) -> (call, how); call(ids, mask) -> vectors as a NumPy array."""
    print("ready", name, version, flush=True)
    batches, warm = Batches(), set()
    for line in sys.stdin:
        words = line.split()
        if words[0] == "vector":
            first = batches.get(words[1], "arrival", 1)[:1]
            call, _ = prepare(int(words[2]), first)
            print(*(f"{x:.7g}" for x in call(*first[0])[0]), flush=True)
            continue
        path, order, size, threads, seconds, part, parts = words[1:]
        threads, seconds = int(threads), float(seconds)
        mine = batches.get(path, order, int(size))[int(part)::int(parts)]
        call, how = prepare(threads, mine)
        if (path, threads) not in warm:
            warm.add((path, threads))
            call(*mine[0])
        rate, times = run_callers(call, mine, seconds, callers_of(threads))
        print(f"{rate:.3f} {statistics.median(times) * 1e3:.4f} {how}", flush=True)

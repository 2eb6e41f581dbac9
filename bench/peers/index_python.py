#!/usr/bin/env python3
"""Libraries with a Python package under bench-index: answers as bench/index_worker.h says.

    index_python.py faiss|usearch|svs

Options of a library, after a colon in --libs:

    faiss      IndexHNSWFlat
    usearch    dtype=f32|f16|bf16|i8
    svs        Vamana with the degree of an HNSW's lowest layer, 2 m, and a window of efc; lvq=8, lvq=4x8, ...:
               vectors as LVQ codes of so many bits, and so many more for the last step

A search is one call for all queries, shared by the library's own threads: what Python costs is spread over them.
Cosines are inner products of vectors that are brought to length 1 while they are loaded.
"""
import ctypes
import mmap
import os
import shutil
import sys
import tempfile
import time

try:
    import numpy as np
except ImportError:
    print("no numpy in this Python (bench/peers/install.sh)", flush=True)
    sys.exit(0)

SEARCH_S_MIN = 0.15
ROWS = 8192  # at a time
HUGE_PAGE = 2 << 20
MADV_COLLAPSE = 25


class Refused(Exception):
    """Why a request cannot be had."""


# ---- vectors ----
def in_a_file(shape):
    """An array whose pages are those of a file that has no name: they are not counted as the process's own."""
    with tempfile.TemporaryFile() as f:
        f.truncate(int(np.prod(shape)) * 4)
        return np.frombuffer(mmap.mmap(f.fileno(), 0), np.float32).reshape(shape)


def read_vectors(path, normalize):
    if path.endswith(".npy"):
        x = np.load(path, mmap_mode="r")
    else:
        raw = np.memmap(path, np.float32, "r")
        x = raw.reshape(-1, int(raw[:1].view(np.int32)[0]) + 1)[:, 1:]
    out = in_a_file(x.shape)
    for i in range(0, len(x), ROWS):
        part = np.asarray(x[i:i + ROWS])
        if normalize:
            length = np.linalg.norm(part.astype(np.float64), axis=1, keepdims=True)
            part = part / np.where(length > 0, length, 1)
        out[i:i + ROWS] = part
    return out


# ---- memory ----
def kib_of(file, name):
    with open(file, encoding="ascii") as f:
        return next((int(line.split()[1]) for line in f if line.startswith(name)), 0)


def resident_kib():
    return kib_of("/proc/self/status", "RssAnon:")


def trim():
    ctypes.CDLL(None).malloc_trim(0)


def collapse():
    """Huge pages for what the library mapped by itself, past malloc, which asks for them (GLIBC_TUNABLES)."""
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    with open("/proc/self/maps", encoding="ascii") as f:
        maps = [line.split() for line in f]
    for where, rights, _, _, inode, *_ in maps:
        start, end = (int(x, 16) for x in where.split("-"))
        start, end = -(-start // HUGE_PAGE) * HUGE_PAGE, end // HUGE_PAGE * HUGE_PAGE
        if rights.startswith("rw-p") and inode == "0" and end > start:
            libc.madvise(start, end - start, mmap.MADV_HUGEPAGE)
            libc.madvise(start, end - start, MADV_COLLAPSE)


# ---- libraries ----
class Faiss:
    name = "faiss"

    def __init__(self):
        import faiss
        self.faiss, self.version = faiss, faiss.__version__

    def build(self, base, metric, threads, m, efc, options):
        if options:
            raise Refused("option " + next(iter(options)))
        kind = self.faiss.METRIC_L2 if metric == "l2" else self.faiss.METRIC_INNER_PRODUCT
        self.index = self.faiss.IndexHNSWFlat(base.shape[1], m, kind)
        self.index.hnsw.efConstruction = efc
        self.faiss.omp_set_num_threads(threads)
        self.index.add(base)
        return self.faiss.get_compile_options().split()[-1]

    def release(self):
        self.index = None

    def prepare(self, ef, threads):
        self.index.hnsw.efSearch = ef
        self.faiss.omp_set_num_threads(threads)

    def search(self, query, k):
        return self.index.search(query, k)[1]


class Usearch:
    name = "usearch"

    def __init__(self):
        import usearch
        from usearch.index import Index
        self.new, self.version = Index, usearch.__version__

    def build(self, base, metric, threads, m, efc, options):
        dtype = options.pop("dtype", "f32")
        if options:
            raise Refused("option " + next(iter(options)))
        if dtype == "i8" and metric != "cosine":
            raise Refused("its i8 is for the cosine only")
        kind = "l2sq" if metric == "l2" else "cos" if dtype == "i8" else "ip"
        self.index = self.new(ndim=base.shape[1], metric=kind, dtype=dtype, connectivity=m,
                              expansion_add=efc, expansion_search=64)
        self.index.add(np.arange(len(base)), base, threads=threads)
        return str(self.index.hardware_acceleration)

    def release(self):
        self.index = None

    def prepare(self, ef, threads):
        self.index.expansion_search = ef
        self.threads = threads

    def search(self, query, k):
        return self.index.search(query, k, threads=self.threads).keys


class Svs:
    name = "svs"

    def __init__(self):
        import svs
        self.svs, self.version = svs, svs.library_version()

    def codes(self, base, lvq, folder):
        """LVQ codes come from a file of vectors only."""
        n, dim = base.shape
        path = os.path.join(folder, "base.fvecs")
        rows = np.memmap(path, np.float32, "w+", shape=(n, dim + 1))
        rows[:, 1:] = base
        rows[:, 0].view(np.int32)[:] = dim
        rows.flush()
        bits = [int(x) for x in lvq.split("x")]
        data = self.svs.VectorDataLoader(path, self.svs.DataType.float32, dim)
        return self.svs.LVQLoader(data, primary=bits[0], residual=bits[1] if len(bits) > 1 else 0)

    def build(self, base, metric, threads, m, efc, options):
        lvq = options.pop("lvq", "")
        if options:
            raise Refused("option " + next(iter(options)))
        if lvq and not hasattr(self.svs, "LVQLoader"):
            raise Refused("this package has no LVQ")
        how = self.svs.VamanaBuildParameters(graph_max_degree=2 * m, window_size=efc)
        kind = self.svs.DistanceType.L2 if metric == "l2" else self.svs.DistanceType.MIP
        folder = tempfile.mkdtemp()
        try:
            data = self.codes(base, lvq, folder) if lvq else base
            self.index = self.svs.Vamana.build(how, data, kind, num_threads=threads)
        finally:
            shutil.rmtree(folder)
        self.index.num_threads = 1
        return "lvq" + lvq if lvq else "f32"

    def release(self):
        self.index = None

    def prepare(self, ef, threads):
        self.index.search_window_size = ef
        self.threads = threads

    def start(self):
        if self.index.num_threads != self.threads:
            self.index.num_threads = self.threads

    def stop(self):
        """Threads that wait for the next call would take time from the other libraries."""
        self.index.num_threads = 1

    def search(self, query, k):
        return self.index.search(query, k)[0]


# ---- requests ----
class Worker:
    def __init__(self, library):
        self.library, self.built, self.ids = library, False, None

    def load(self, base, query, metric):
        if metric not in ("cosine", "dot", "l2"):
            raise Refused("such metric")
        self.metric = metric
        self.base = read_vectors(base, metric == "cosine")
        self.query = np.array(read_vectors(query, metric == "cosine"))
        return f"{len(self.base)} {self.base.shape[1]} {len(self.query)}"

    def build(self, threads, m, efc, *options):
        if self.built:
            self.library.release()
        self.built = False
        trim()
        before = resident_kib()
        start = time.perf_counter()
        note = self.library.build(self.base, self.metric, int(threads), int(m), int(efc),
                                  dict(o.split("=", 1) for o in options))
        seconds = time.perf_counter() - start
        self.built = True
        trim()
        kib = max(resident_kib() - before, 0)
        collapse()
        huge = kib_of("/proc/self/smaps_rollup", "AnonHugePages:")
        return f"{seconds:.4f} {kib} {huge} {note}"

    def search(self, ef, threads, k):
        if not self.built:
            raise Refused("index yet")
        self.library.prepare(int(ef), int(threads))
        getattr(self.library, "start", lambda: None)()
        start, passes, took = time.perf_counter(), 0, 0
        while took < SEARCH_S_MIN:
            self.ids = self.library.search(self.query, int(k))
            passes += 1
            took = time.perf_counter() - start
        getattr(self.library, "stop", lambda: None)()
        return f"{took / passes:.6f}"

    def results(self, path):
        if self.ids is None:
            raise Refused("results")
        self.ids.astype(np.int64).astype(np.uint32).tofile(path)  # -1, of none, becomes UINT32_MAX
        return ""

    def answer(self, line):
        word, *rest = line.split()
        if word not in ("load", "build", "search", "results"):
            raise Refused("such request")
        return ("ok " + getattr(self, word)(*rest)).strip()


def main():
    libraries = {x.name: x for x in (Faiss, Usearch, Svs)}
    if sys.argv[1] not in libraries:
        print("no library", sys.argv[1], flush=True)
        return
    try:
        library = libraries[sys.argv[1]]()
    except ImportError as e:
        print(f"no {sys.argv[1]}: {e}", flush=True)
        return
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is not an answer
    worker = Worker(library)
    print("ready", library.name, library.version, file=answers, flush=True)
    for line in sys.stdin:
        try:
            reply = worker.answer(line)
        except Refused as e:
            reply = f"no {e}"
        except (RuntimeError, ValueError, TypeError, OSError) as e:
            reply = "no " + " ".join(str(e).split())[:200]
        print(reply, file=answers, flush=True)


if __name__ == "__main__":
    main()

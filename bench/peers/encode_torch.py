#!/usr/bin/env python3
"""PyTorch as a peer of bench_encode_bert: see worker.py.

    encode_torch.py MODEL_DIR
"""
import sys


def main():
    import torch

    import bert_torch
    import worker
    m = bert_torch.load(sys.argv[1]).eval()

    def prepare(threads, batches):
        torch.set_num_threads(threads)
        worker.blas_threads(threads)

        def call(ids, mask):
            with torch.inference_mode():
                whole = bool(mask.all())
                return m(torch.from_numpy(ids), None if whole else torch.from_numpy(mask)).numpy()
        return call, "eager"
    worker.serve("pytorch", torch.__version__, prepare)


if __name__ == "__main__":
    try:
        main()
    except ImportError as e:
        print("no pytorch:", e, flush=True)

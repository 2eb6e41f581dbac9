#!/usr/bin/env python3
"""ONNX Runtime as a peer of bench_encode_bert: see worker.py.

    encode_ort.py MODEL_DIR [callers]

Three graphs, and for each shape and number of threads the fastest of them: the standard's operators under all of
ONNX Runtime's own optimisations, the same through its optimizer for transformers, and its fused operators put
down by hand. callers: N threads are N callers that share a session of one thread each, instead of one caller
whose session uses N threads.
"""
import contextlib
import io
import logging
import os
import sys
import tempfile


def main():
    import onnxruntime as ort

    import bert_onnx
    import worker
    model_dir, callers = sys.argv[1], "callers" in sys.argv[2:]
    ort.set_default_logger_severity(4)
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as d:
        graphs = {"plain": d + "/plain.onnx", "fused": d + "/fused.onnx"}
        c = bert_onnx.build(model_dir, graphs["plain"], False)
        bert_onnx.build(model_dir, graphs["fused"], True)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                from onnxruntime.transformers import optimizer
                made = optimizer.optimize_model(graphs["plain"], model_type="bert", num_heads=c["num_attention_heads"],
                                                hidden_size=c["hidden_size"], opt_level=1)
                made.save_model_to_file(d + "/optimizer.onnx")
            graphs["optimizer"] = d + "/optimizer.onnx"
        except Exception as e:  # its dependencies come and go
            print("encode_ort: without onnxruntime.transformers:", e, file=sys.stderr)
        sessions, chosen = {}, {}

        def session(graph, threads):
            if (graph, threads) not in sessions:
                o = ort.SessionOptions()
                o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
                o.intra_op_num_threads = 1 if callers else threads
                o.inter_op_num_threads = 1
                sessions[graph, threads] = ort.InferenceSession(graphs[graph], o, providers=["CPUExecutionProvider"])
            return sessions[graph, threads]

        def call_of(graph, threads):
            s = session(graph, threads)
            return lambda ids, mask: s.run(["embedding"], {"ids": ids, "mask": mask})[0]

        def prepare(threads, batches):
            batch = batches[len(batches) // 2]
            key = (threads, batch[0].shape if len(batches) == 1 else "texts")
            if key not in chosen:
                best = {}
                for graph in graphs:
                    call = call_of(graph, threads)
                    call(*batch)
                    best[graph] = float("inf")
                    until = worker.clock() + 0.3
                    while best[graph] == float("inf") or worker.clock() < until:
                        begin = worker.clock()
                        call(*batch)
                        best[graph] = min(best[graph], worker.clock() - begin)
                chosen[key] = min(best, key=best.get)
                if os.environ.get("PEER_VERBOSE"):
                    print("encode_ort:", key, best, file=sys.stderr)
            return call_of(chosen[key], threads), chosen[key]
        worker.serve("onnxruntime-callers" if callers else "onnxruntime", ort.__version__, prepare,
                     (lambda threads: threads) if callers else (lambda threads: 1))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ImportError as e:
        print("no onnxruntime:", e, flush=True)

#!/usr/bin/env python3
"""Octavo beside ONNX Runtime and OpenVINO on the same ONNX files: one thread, in turns, medians.

    models.py OCTAVO FOLDER [NAME ...] [--rounds N] [--seconds S] [--samples N] [--json FILE]

FOLDER holds NAME.onnx and NAME.npz as bench/models/make_models.py writes them. Each model is quantized once with Octavo's
recipe x86_static (at most --samples samples); the INT8 file is standard QDQ, and every engine runs both files. A round runs each
engine on each file for --seconds; an engine's figure is the median of its rounds. An engine that is not installed, or cannot run
a file, is left out and says so. Prints milliseconds and, last, the ratios of issue 5:

    x fp32   fastest FP32 of all engines / Octavo INT8
    x int8   fastest INT8 of the other engines / Octavo INT8
    share    INT8 share of multiply-accumulates (octavo inspect)
"""
import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time

import numpy as np


def octavo_json(binary, *arguments):
    result = subprocess.run([binary, *arguments, "--json"], capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(result.stderr.strip())
    return json.loads(result.stdout)


class Octavo:
    name = "octavo"

    def __init__(self, binary, path, data):
        self.arguments = (binary, "bench", path, "--data", data)

    def milliseconds(self, seconds):
        return octavo_json(*self.arguments, "--seconds", str(seconds))["median_ms"]


def timed(run, seconds):
    run()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


class OnnxRuntime:
    name = "onnxruntime"

    def __init__(self, _binary, path, data):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = {i.name: data_of(data, i.name) for i in self.session.get_inputs()}

    def milliseconds(self, seconds):
        return timed(lambda: self.session.run(None, self.inputs), seconds)


class OpenVino:
    name = "openvino"

    def __init__(self, _binary, path, data):
        import openvino

        core = openvino.Core()
        self.model = core.compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"})
        self.request = self.model.create_infer_request()
        self.inputs = {i.any_name: data_of(data, i.any_name) for i in self.model.inputs}

    def milliseconds(self, seconds):
        return timed(lambda: self.request.infer(self.inputs), seconds)


ENGINES = (Octavo, OnnxRuntime, OpenVino)


def data_of(path, name):
    return np.load(path)[name][:1]


def measure(options, name):
    model, data = (os.path.join(options.folder, name + suffix) for suffix in (".onnx", ".npz"))
    quantized = os.path.join(options.folder, name + ".int8.onnx")
    octavo_json(options.octavo, "quantize", model, "-o", quantized, "--calib", data, "--samples", str(options.samples))
    share = octavo_json(options.octavo, "inspect", quantized)["int8_mac_share"]
    runners, figures = {}, {}
    for precision, path in (("fp32", model), ("int8", quantized)):
        for engine in ENGINES:
            try:
                runners[engine.name, precision] = engine(options.octavo, path, data)
            except Exception as error:
                print(f"{name}: {engine.name} {precision}: {str(error).splitlines()[0][:150]}", file=sys.stderr)
    for _ in range(options.rounds):
        for key, runner in runners.items():
            figures.setdefault(key, []).append(runner.milliseconds(options.seconds))
    return {"model": name, "share": share, "ms": {" ".join(k): statistics.median(v) for k, v in figures.items()}}


def ratios(row):
    ms, own = row["ms"], row["ms"]["octavo int8"]
    rivals = [v for k, v in ms.items() if k.endswith("int8") and k != "octavo int8"]
    return min(v for k, v in ms.items() if k.endswith("fp32")) / own, min(rivals) / own if rivals else math.nan


def print_table(rows):
    columns = [f"{e.name} {p}" for e in ENGINES for p in ("fp32", "int8")]
    print(f"{'model':18}" + "".join(f"{c:>18}" for c in columns) + f"{'x fp32':>9}{'x int8':>9}{'share':>8}")
    for row in rows:
        fp32, int8 = ratios(row)
        cells = "".join(f"{row['ms'][c]:18.3f}" if c in row["ms"] else f"{'-':>18}" for c in columns)
        print(f"{row['model']:18}{cells}{fp32:9.2f}{int8:9.2f}{100 * row['share']:7.1f}%")
    for index, label in enumerate(("x fp32", "x int8")):
        values = [v for v in (ratios(r)[index] for r in rows) if not math.isnan(v)]
        if values:
            mean = math.exp(statistics.fmean(map(math.log, values)))
            print(f"geometric mean {label}: {mean:.2f}, least {min(values):.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("octavo", help="the octavo command")
    parser.add_argument("folder")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    found = sorted(f[:-5] for f in os.listdir(options.folder) if f.endswith(".onnx") and not f.endswith(".int8.onnx"))
    rows = []
    for name in options.names or found:
        try:
            rows.append(measure(options, name))
            print_table(rows[-1:])
        except RuntimeError as error:
            print(f"{name}: {error}", file=sys.stderr)
    if rows:
        print_table(rows)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()

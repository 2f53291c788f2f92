"""How long the ONNX file of a result takes, as an app would run it: onnxruntime and numpy alone."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import numpy
import onnxruntime

__all__ = ["milliseconds", "session"]


def session(folder: str) -> onnxruntime.InferenceSession:
    """The file on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(Path(folder) / "model.onnx", options, ["CPUExecutionProvider"])


def milliseconds(folder: str, *shape: int, runs: int = 30) -> float:
    """The median time of one image of this shape, in milliseconds."""
    opened = session(folder)
    pixels = numpy.random.default_rng(0).normal(size=(1, *shape)).astype("float32")
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        opened.run(None, {opened.get_inputs()[0].name: pixels})
        times.append(time.perf_counter() - start)
    return 1e3 * median(times)

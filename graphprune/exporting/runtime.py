"""An ONNX file in onnxruntime: a session, a run, and how fast it is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from graphprune.errors import ExportError
from graphprune.exporting.feeds import match_inputs, to_numpy

__all__ = ["Array", "Latency", "fastest", "feeder", "latency", "runner", "session"]

Array = numpy.ndarray[Any, Any]


@dataclass(frozen=True)
class Latency:
    """Time of one run, measured in alternation.

    Attributes:
        original_ms: median of the original file, in milliseconds.
        slim_ms: median of the slim file, in milliseconds.
        ratio: median over the pairs of (slim time / original time); below 1 the slim one is faster.
        runs: number of pairs.
    """

    original_ms: float
    slim_ms: float
    ratio: float
    runs: int


def session(model: Path | bytes, threads: int = 1) -> Any:
    """An `onnxruntime.InferenceSession` of a file, or of a serialised model, on the CPU.

    Raises:
        ExportError: onnxruntime cannot load the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        source = model if isinstance(model, bytes) else str(model)
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base class
        what = "a model" if isinstance(model, bytes) else model
        raise ExportError(
            f"onnxruntime cannot load {what}: {_first_line(error)}", "export the model again"
        ) from error


def latency(
    original: Path,
    slim: Path,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    seconds: float = 5.0,
    threads: int = 1,
    pairs: int = 10,
) -> Latency:
    """Time two files in one process and in strict alternation, so that both see the same machine.

    Args:
        original: file of the original model.
        slim: file of the slim model, with the same inputs.
        args: positional arguments of the models.
        kwargs: keyword arguments of the models.
        seconds: time to measure for, after warming up; more where `pairs` take longer.
        threads: threads of onnxruntime.
        pairs: least number of pairs of runs.

    Raises:
        ExportError: onnxruntime cannot load or run a file.
    """
    runs = [runner(session(path, threads), args, kwargs) for path in (original, slim)]
    warm_until = time.perf_counter() + seconds / 10
    while True:
        for run in runs:
            run()
        if time.perf_counter() >= warm_until:
            break
    times: list[tuple[float, float]] = []
    until = time.perf_counter() + seconds
    while len(times) < pairs or time.perf_counter() < until:
        times.append((_timed(runs[0]), _timed(runs[1])))
    return Latency(
        original_ms=1000 * statistics.median(before for before, _ in times),
        slim_ms=1000 * statistics.median(after for _, after in times),
        ratio=statistics.median(after / before for before, after in times),
        runs=len(times),
    )


def runner(loaded: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Callable[[], list[Array]]:
    """One run on these arguments, which are converted here and not at every run."""
    names = [value.name for value in loaded.get_inputs()]
    return feeder(
        loaded, {name: to_numpy(tensor) for name, tensor in match_inputs(names, args, kwargs).items()}
    )


def feeder(loaded: Any, feed: Mapping[str, Array]) -> Callable[[], list[Array]]:
    """One run on these inputs."""

    def run() -> list[Array]:
        try:
            return loaded.run(None, feed)
        except Exception as error:  # onnxruntime's errors have no common base class
            raise ExportError(
                f"onnxruntime cannot run the file: {_first_line(error)}", "export it again"
            ) from error

    return run


def fastest(runs: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """Seconds of the fastest of ``rounds`` calls of each; all are called in turn, so that all see the same machine."""
    best = [_timed(run) for run in runs]
    for _ in range(rounds):
        best = [min(before, _timed(run)) for before, run in zip(best, runs, strict=True)]
    return best


def _timed(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]

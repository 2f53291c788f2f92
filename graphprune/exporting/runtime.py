"""An ONNX file in onnxruntime: does it agree with the model, and how fast is it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from graphprune.errors import ExportError
from graphprune.exporting.feeds import match_inputs, to_numpy

__all__ = ["Latency", "Parity", "latency", "parity", "session"]

Array = numpy.ndarray[Any, Any]


@dataclass(frozen=True)
class Parity:
    """How far the file's outputs are from the model's, over all outputs at one batch size.

    Attributes:
        batch: number of samples.
        max_abs: largest absolute difference.
        max_rel: largest over the outputs of (largest absolute difference / largest absolute value).
    """

    batch: int
    max_abs: float
    max_rel: float


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


def session(path: Path, threads: int = 1) -> Any:
    """An `onnxruntime.InferenceSession` of the file on the CPU.

    Raises:
        ExportError: onnxruntime cannot load the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base class
        raise ExportError(
            f"onnxruntime cannot load {path}: {_first_line(error)}", "export the model again"
        ) from error


def parity(
    path: Path,
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    batch_sizes: Sequence[int] = (1, 3),
    seed: int = 0,
) -> list[Parity]:
    """Compare the file in onnxruntime with the model in PyTorch on random inputs.

    Args:
        path: an exported file.
        model: the model it was exported from, in eval mode.
        args: example positional arguments. Floating tensors are replaced by normal random numbers of their
            shape and the batch size, others keep their values, repeated or cut to the batch size.
        kwargs: example keyword arguments, likewise.
        batch_sizes: sizes to try where the file's batch dimension is symbolic; otherwise only the example's.
        seed: of the random numbers.

    Raises:
        ExportError: onnxruntime fails on the file, or gives outputs of another number or shape.
    """
    loaded = session(path)
    symbolic = {
        value.name for value in loaded.get_inputs() if value.shape and not isinstance(value.shape[0], int)
    }
    names = [value.name for value in loaded.get_inputs()]
    examples = match_inputs(names, args, kwargs)
    if not symbolic:
        first = next((tensor for tensor in examples.values() if tensor.dim() > 0), torch.zeros(1))
        batch_sizes = (first.shape[0],)
    changing = {id(tensor) for name, tensor in examples.items() if name in symbolic}
    generator = torch.Generator().manual_seed(seed)
    return [
        _compare(loaded, model, _inputs((args, dict(kwargs)), changing, n, generator), n) for n in batch_sizes
    ]


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
    runs = [_runner(session(path, threads), args, kwargs) for path in (original, slim)]
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


def _inputs(example: Any, changing: set[int], batch: int, generator: torch.Generator) -> Any:
    """`example` with new values in its floating tensors and `batch` samples in the `changing` ones."""

    def renew(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        if id(leaf) in changing:
            repeats = -(-batch // leaf.shape[0])
            leaf = torch.cat([leaf] * repeats)[:batch]
        if leaf.is_floating_point():
            return torch.randn(leaf.shape, generator=generator).to(leaf)
        return leaf

    return tree_map(renew, example)


def _compare(loaded: Any, model: nn.Module, inputs: Any, batch: int) -> Parity:
    args, kwargs = inputs
    with torch.no_grad():
        expected = [leaf for leaf in tree_leaves(model(*args, **kwargs)) if isinstance(leaf, torch.Tensor)]
    found = _runner(loaded, args, kwargs)()
    if not expected or len(found) != len(expected):
        raise ExportError(
            f"the file has {len(found)} outputs, the model {len(expected)}", "export the model again"
        )
    errors = [
        _error(to_numpy(reference), output, value.name)
        for reference, output, value in zip(expected, found, loaded.get_outputs(), strict=True)
    ]
    return Parity(batch, max(absolute for absolute, _ in errors), max(relative for _, relative in errors))


def _error(reference: Array, output: Array, name: str) -> tuple[float, float]:
    """Largest absolute and relative difference; infinite where only one of the two is finite."""
    if reference.shape != output.shape:
        shapes = f"{list(output.shape)} in onnxruntime, {list(reference.shape)} in PyTorch"
        raise ExportError(
            f"output {name!r} has shape {shapes}",
            "export with a fixed batch size",
        )
    wide, other = reference.astype(numpy.float64), output.astype(numpy.float64)
    same = (wide == other) | (numpy.isnan(wide) & numpy.isnan(other))
    with numpy.errstate(invalid="ignore"):
        difference = numpy.where(same, 0.0, numpy.abs(wide - other))
    largest = float(numpy.nan_to_num(difference, nan=numpy.inf).max(initial=0.0))
    scale = float(numpy.abs(wide[numpy.isfinite(wide)]).max(initial=0.0))
    return largest, largest / scale if scale else (0.0 if largest == 0.0 else float("inf"))


def _runner(loaded: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Callable[[], list[Array]]:
    """One run on these arguments, which are converted here and not at every run."""
    names = [value.name for value in loaded.get_inputs()]
    feed = {name: to_numpy(tensor) for name, tensor in match_inputs(names, args, kwargs).items()}

    def run() -> list[Array]:
        try:
            return loaded.run(None, feed)
        except Exception as error:  # onnxruntime's errors have no common base class
            raise ExportError(
                f"onnxruntime cannot run the file: {_first_line(error)}", "export it again"
            ) from error

    return run


def _timed(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]

"""What must be measured of a model before its file or its latency can have a budget."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy
import torch

from graphprune import exporting
from graphprune.axes.cost import CostFunction, Polynomial
from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.terms import Term
from graphprune.capture.program import Program
from graphprune.exporting import Latency
from graphprune.ground.clock import Progress
from graphprune.ground.errors import InputError
from graphprune.ground.files import scratch
from graphprune.ground.options import COUNTS, THREADS, check_number
from graphprune.importing.interpreter import OnnxModule
from graphprune.importing.naming import layers_by_name
from graphprune.importing.writing import write_model
from graphprune.profiling.latency import latency_cost

__all__ = ["Profile", "profile"]

RUNS = 10
WATCHED = 0.3  # seconds of runs that tell the times of layers, which nothing is decided by
TIMED = 2.0  # seconds of runs that tell the ratio of latencies, if it is not known before
SAMPLE = 1 << 14  # numbers of a tensor by which it is known again


@dataclass(frozen=True, eq=False)
class Profile:
    """The original as ONNX, and costs learned from it.

    Args:
        graph: the model.
        file: as ONNX, in memory; of a model that was read from a file, a file that goes when this object goes.
        bytes: the size of such a file.
        threads: of onnxruntime.
        batch: examples in one run.
        export_dtype: the type of the file's numbers; None for the model's own.
    """

    graph: DependencyGraph
    file: exporting.Model
    bytes: int
    threads: int
    batch: int
    export_dtype: str | None = None

    @cached_property
    def program(self) -> Program:
        """The model as the file has it."""
        return exporting.in_dtype(self.graph.program, exporting.named_dtype(self.export_dtype))

    @cached_property
    def onnx_bytes(self) -> CostFunction:
        """Bytes of the ONNX file."""
        return _file_size(self.graph, self.program, self.file, self.bytes)

    @cached_property
    def latency(self) -> CostFunction:
        """Milliseconds of one run, as predicted; see `graphprune.profiling.latency`."""
        _, nodes = exporting.watched(self.file, self._feed, RUNS, self.threads)
        return latency_cost(self.graph, nodes, self.threads, self.batch)

    def _feed(self, loaded: Any) -> dict[str, Any]:
        return exporting.make_feed(loaded, *self.program.example_at(self.batch))

    def measure(self, slim: Path, seconds: float = 5.0) -> Latency:
        """Times a slim model's file against the original's, in alternation; see `graphprune.exporting.timing`."""
        example = self.program.example_at(self.batch)
        return exporting.latency(self.file, slim, example, seconds=seconds, threads=self.threads)

    def measure_layers(
        self, slim: Path, seconds: float = TIMED
    ) -> tuple[Latency, dict[str, tuple[float, float]]]:
        """The same, and layer → milliseconds in the original and in the slim model; each file is loaded once.

        See `graphprune.exporting.layer_times`.
        """
        model, both = self.graph.program.model, (self.file, slim)
        named = layers_by_name(model.source.graph) if isinstance(model, OnnxModule) else None
        files = [exporting.watched(file, self._feed, RUNS, self.threads, WATCHED) for file in both]
        (original, _), (other, _) = files
        timed = exporting.alternated(original, other, seconds, self.threads, warm=True)
        before, after = (
            exporting.layer_times(file, nodes, named) for file, (_, nodes) in zip(both, files, strict=True)
        )
        names = sorted({**before, **after}, key=exporting.OTHER.__eq__)
        return timed, {name: (before.get(name, 0.0), after.get(name, 0.0)) for name in names}

    def tidying(self, seconds: float = 2.0) -> Latency | None:
        """The time of an ONNX file as it was given, and as it is pruned; None where these are the same."""
        model = self.graph.program.model
        if not isinstance(model, OnnxModule) or model.given is None:
            return None
        with scratch() as folder:
            write_model(model.given, folder / "given.onnx")
            example = self.program.example_at(self.batch)
            return exporting.latency(folder / "given.onnx", self.file, example, seconds, self.threads)


def profile(
    graph: DependencyGraph,
    threads: int = 1,
    batch: int = 1,
    progress: Progress = lambda stage: None,
    export_dtype: str | None = None,
) -> Profile:
    """Exports the original to ONNX, which takes seconds; share the result between requests for one model.

    Args:
        graph: of the model, from `trace`.
        threads: of onnxruntime.
        batch: examples in one run.
        progress: called with the name of the stage.
        export_dtype: as for `shrink`.

    Raises:
        InputError: threads or batch are not positive, or the model fixes another batch size.
        ExportError: the model cannot be exported.
    """
    check_number("threads", threads, THREADS)
    check_number("batch", batch, COUNTS)
    program = exporting.in_dtype(graph.program, exporting.named_dtype(export_dtype))
    if batch != 1 and not program.dynamic_batch:
        raise InputError(f"batch={batch}, but the model fixes its batch size", "leave batch out")
    progress("export the original")
    if not isinstance(program.model, OnnxModule):
        made = exporting.OnnxProgram.of(program).finished()
        return Profile(graph, made, made.size, threads, batch, export_dtype)
    with ExitStack() as opened:
        path = opened.enter_context(scratch()) / "original.onnx"
        write_model(program.model.source, path)
        written = exporting.check_file(path)
        found = Profile(graph, written.path, written.bytes, threads, batch, export_dtype)
        weakref.finalize(found, opened.pop_all().close)
    return found


def _file_size(graph: DependencyGraph, program: Program, file: exporting.Model, total: int) -> Polynomial:
    """Bytes of the file that a slim model will have, learned from that of the original.

    The exporter transposes tensors, folds normalisations into others and leaves zeros out, so the tensors in the file
    are traced back to the model's: by content, or by name where a weight was scaled. What is not found, such as
    operators and names, stays as large as it is.

    Args:
        program: the model as the file has it.
        file: the original's.
        total: its bytes, with what lies beside it.
    """
    known = _by_content(graph, program)
    products, prices, rest = [], {}, total
    for name, array in exporting.arrays_of(file):
        terms = known.get(_digest(array)) or _by_name(graph, name, array.size)
        if terms is not None and array.size:
            products.append((name, terms))
            prices[name] = array.nbytes // array.size
            rest -= array.nbytes
    free = {group.atom for group in graph.groups}
    return Polynomial.of([*products, ("the rest", ())], free, {}, {**prices, "the rest": rest})


def _by_content(graph: DependencyGraph, program: Program) -> Mapping[str, tuple[Term, ...]]:
    found: dict[str, tuple[Term, ...]] = {}
    for name, terms in graph.tensor_terms.items():
        tensor = program.tensors[name].detach().cpu()
        if tensor.dtype != torch.bfloat16:  # numpy has none; found by name
            for layout in (tensor, tensor.t()) if tensor.dim() == 2 else (tensor,):
                found.setdefault(_digest(layout.numpy()), terms)
    return found


def _digest(array: Any) -> str:
    """Of the type, the size, and numbers at equal distances: hundreds of megabytes are told apart by these.

    The shape does not count: the exporter adds and drops dimensions of one.
    """
    array = numpy.atleast_1d(array)
    step = array.size // SAMPLE | 1  # odd, so that it does not stay in one column
    numbers = array[numpy.unravel_index(numpy.arange(0, array.size, step), array.shape)]
    return hashlib.sha256(numbers.tobytes() + f"{array.dtype} {array.size}".encode()).hexdigest()


def _by_name(graph: DependencyGraph, name: str, count: int) -> tuple[Term, ...] | None:
    """The tensor of that name, scaled; or the bias that a folded normalisation adds to one without."""
    terms = graph.tensor_terms.get(name)
    if terms is not None:
        return terms if prod(term.size for term in terms) == count else None
    outputs = graph.tensor_terms.get(name.removesuffix("_bias"), ())
    return next(((term,) for term in outputs[:2] if term.size == count), None)

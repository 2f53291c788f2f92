"""What must be measured of a model before its file or its latency can have a budget."""

from __future__ import annotations

import shutil
import weakref
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from graphprune import exporting
from graphprune.axes.cost import CostFunction
from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.raising import raise_program
from graphprune.exporting import Latency
from graphprune.ground.clock import Progress
from graphprune.ground.errors import InputError
from graphprune.profiling.file_size import file_size
from graphprune.profiling.latency import latency_cost

__all__ = ["Profile", "profile"]

RUNS = 10


@dataclass(frozen=True, eq=False)
class Profile:
    """The original's ONNX file, and costs learned from it. The file goes when this object goes.

    Args:
        graph: the model.
        path: the file.
        bytes: its size.
        threads: of onnxruntime.
        batch: examples in one run.
    """

    graph: DependencyGraph
    path: Path
    bytes: int
    threads: int
    batch: int

    @cached_property
    def onnx_bytes(self) -> CostFunction:
        """Bytes of the ONNX file."""
        return file_size(self.graph, self.path, self.bytes)

    @cached_property
    def latency(self) -> CostFunction:
        """Milliseconds of one run, as predicted; see `graphprune.profiling.latency`."""
        nodes = exporting.node_times(self.path, self._feed(self.path), RUNS, self.threads)
        return latency_cost(self.graph, nodes, self.threads, self.batch)

    def _feed(self, path: Path) -> dict[str, Any]:
        example = self.graph.program.example_at(self.batch)
        return exporting.make_feed(exporting.session(path), *example)

    def measure(self, slim: Path, seconds: float = 5.0) -> Latency:
        """Times a slim model's file against the original's, in alternation."""
        example = self.graph.program.example_at(self.batch)
        return exporting.latency(self.path, slim, example, seconds=seconds, threads=self.threads)

    def layers(self, slim: Path) -> dict[str, tuple[float, float]]:
        """Layer → milliseconds in the original and in a slim model, see `graphprune.exporting.layer_times`."""
        before, after = (
            exporting.layer_times(path, self._feed(path), RUNS, self.threads) for path in (self.path, slim)
        )
        names = sorted({**before, **after}, key=exporting.OTHER.__eq__)
        return {name: (before.get(name, 0.0), after.get(name, 0.0)) for name in names}


def profile(
    graph: DependencyGraph, threads: int = 1, batch: int = 1, progress: Progress = lambda stage: None
) -> Profile:
    """Exports the original to ONNX, which takes seconds; share the result between requests for one model.

    Raises:
        InputError: threads or batch are not positive, or the model fixes another batch size.
        ExportError: the model cannot be exported.
    """
    for name, value in (("threads", threads), ("batch", batch)):
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{name}={value!r} is not a positive whole number", f"give {name}=1 or more")
    program = graph.program
    if batch != 1 and not program.dynamic_batch:
        raise InputError(f"batch={batch}, but the model fixes its batch size", "leave batch out")
    progress("export the original")
    folder = mkdtemp(prefix="graphprune-")
    try:
        model, path = raise_program(program, "Original"), Path(folder, "original.onnx")
        written = exporting.export_onnx(model, *program.example, path, program.dynamic_batch)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    found = Profile(graph, written.path, written.bytes, threads, batch)
    weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
    return found

"""``write_kit``: models to be timed on the device that counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from graphprune import exporting
from graphprune.axes.dependency import DependencyGraph
from graphprune.face.opening import opened
from graphprune.face.trace import traced
from graphprune.ground.clock import Clock, Progress
from graphprune.ground.dynamic import AUTO
from graphprune.ground.errors import InputError
from graphprune.ground.options import COUNTS, check_number
from graphprune.searching.kit import NAMES, kit_files

__all__ = ["write_kit"]


def write_kit(
    model: nn.Module | DependencyGraph | str | Path,
    example_inputs: Any,
    directory: str | Path,
    batch: int = 1,
    force: bool = False,
    progress: Progress = lambda stage: None,
) -> list[str]:
    """Writes a folder to run on another device, so that a latency can be planned for that.

    It holds the model at a dozen widths as small ONNX files, whose weights are made and shared, and ``time_kit.py``,
    which needs onnxruntime alone and writes ``times.json``. ``shrink(..., latency=0.5, times="times.json")`` plans with
    that. TensorRT's trtexec and OpenVINO's benchmark_app can time the files too.

    Args:
        model: the model, its graph from `trace`, or the path of an ONNX file.
        example_inputs: as for `shrink`; None for a graph.
        directory: it appears when all is done.
        batch: examples in one run.
        force: an earlier kit, with times of yours, may be lost.
        progress: called with the name of every stage as it begins.

    Returns:
        The names of the files.

    Raises:
        InputError: the model does not run on the inputs, or fixes another batch, or nothing of it can be removed.
        ExportError: it cannot be exported.
    """
    check_number("batch", batch, COUNTS)
    exporting.ensure_writable(Path(directory), NAMES, force)
    clock = Clock(progress)
    module, inputs = opened(model, example_inputs)
    graph = traced(module, inputs, (), AUTO, clock)
    if batch != 1 and not graph.program.dynamic_batch:
        raise InputError(f"batch={batch}, but the model fixes its batch size", "leave batch out")
    if not graph.groups:
        raise InputError("nothing of the model can be removed", "graphprune inspect says why")
    writers = kit_files(graph, batch, 0, clock)
    exporting.write_directory(Path(directory), writers, force)
    return list(writers)

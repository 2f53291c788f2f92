"""Models that are named as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphprune.axes.dependency import DependencyGraph
from graphprune.ground.dynamic import AUTO, Dynamic
from graphprune.ground.errors import InputError
from graphprune.importing.interpreter import OnnxModule
from graphprune.importing.reading import is_file, open_file
from graphprune.importing.signature import declared_sizes

__all__ = ["opened", "refuse_file", "sizes_asked"]


def opened(model: Any, example_inputs: Any) -> tuple[Any, Any]:
    """The module and example inputs of an ONNX file; any other model and its inputs as they are.

    Raises:
        InputError: the file cannot be read, does not fit the inputs, or a text names no such file.
        CaptureError: the file cannot be run.
    """
    if not isinstance(model, str | Path):
        return model, example_inputs
    if not is_file(model):
        raise InputError(
            f"{str(model)!r} is no model", "give a torch.nn.Module, or the path of a file that ends in .onnx"
        )
    file = open_file(model, example_inputs)
    return file.module, file.inputs


def sizes_asked(model: Any, dynamic: Dynamic) -> Dynamic:
    """What varies of a model's sizes: of a file what the file says, unless the user asks otherwise."""
    return declared_sizes(model.signature) if isinstance(model, OnnxModule) and dynamic == AUTO else dynamic


def refuse_file(graph: DependencyGraph) -> None:
    """Raises InputError where a graph is that of an ONNX file, which is not written yet."""
    if isinstance(graph.program.model, OnnxModule):
        raise InputError(
            "an ONNX file can be traced and planned, but writing the smaller file is not yet there",
            "see its plan with graphprune.plan, or --dry-run; or shrink the PyTorch model",
        )

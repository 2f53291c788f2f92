"""A file as a module with example inputs, compared with onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graphprune.ground.dynamic import Declared
from graphprune.ground.errors import GraphpruneError
from graphprune.importing.comparing import check_values, is_equal
from graphprune.importing.denormals import denormals_of, flushed
from graphprune.importing.examples import Given, examples
from graphprune.importing.file import read_model
from graphprune.importing.interpreter import OnnxModule, module_of
from graphprune.importing.running import values_of
from graphprune.importing.signature import declared_sizes

__all__ = ["Opened", "is_file", "open_file"]

SUFFIX = ".onnx"
SAME = 1e-6  # relative to the largest value of an output: nobody could tell them apart


@dataclass(frozen=True)
class Opened:
    """A file that can be traced.

    Attributes:
        inputs: one example.
        dynamic: the sizes that vary by the file's word.
    """

    module: OnnxModule
    inputs: tuple[Tensor, ...]
    dynamic: Declared


def is_file(model: Any) -> bool:
    """Whether a model is named as an ONNX file."""
    return isinstance(model, str | Path) and str(model).endswith(SUFFIX)


def open_file(path: str | Path, given: Given = None, keep_denormals: bool = False) -> Opened:
    """Reads a file, makes example inputs where none are given, and compares the module with onnxruntime on them.

    Args:
        keep_denormals: leave numbers below the smallest normal one as they are, see `graphprune.importing.denormals`.

    Raises:
        InputError: the file cannot be read, or what is given does not fit it.
        CaptureError: an operator is not known, or PyTorch and onnxruntime differ; the message names the node.
    """
    model, refused = read_model(path), set[str]()
    while True:
        module = module_of(model, refused)
        try:
            inputs = examples(module, given)
            check_values(module, inputs, Path(path))
        except GraphpruneError:
            found = {turn.outputs[0] for turn in module.turns if turn.step.refused}
            if not found - refused or not _has_weights_without(model, refused | found):
                raise
            refused |= found
        else:
            if not keep_denormals and (small := denormals_of(model)):
                module = _flushed(module, inputs, sum(small.values()), refused)
            return Opened(module, inputs, declared_sizes(module.signature))


def _flushed(module: OnnxModule, inputs: Sequence[Tensor], count: int, refused: set[str]) -> OnnxModule:
    """The module of the file with zeros in the place of denormal numbers, where its outputs stay as they are."""
    feed = {item.name: value.numpy() for item, value in zip(module.signature, inputs, strict=True)}
    names = [item.name for item in module.source.graph.output]
    made = module_of(flushed(module.source), refused)
    before, after = (values_of(item.source, feed, names, "the file") for item in (module, made))
    if not all(is_equal(torch.as_tensor(after[name]), before[name], SAME) for name in names):
        return module
    made.denormals, made.unflushed = count, module.source
    return made


def _has_weights_without(model: Any, refused: set[str]) -> bool:
    """Whether anything is left to cut where these nodes are not run."""
    return any(True for _ in module_of(model, refused).parameters())

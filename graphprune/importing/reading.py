"""A file as a module with example inputs, compared with onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphprune.exporting.runtime import session
from graphprune.ground.dynamic import Declared
from graphprune.ground.errors import CaptureError, first_line
from graphprune.importing.examples import Given, examples
from graphprune.importing.file import read_model
from graphprune.importing.interpreter import OnnxModule, module_of
from graphprune.importing.signature import declared_sizes

__all__ = ["Opened", "is_file", "open_file"]

SUFFIX = ".onnx"
LIMIT = 1e-3  # relative to the largest value of an output: both compute in the file's own precision, in other orders


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


def open_file(path: str | Path, given: Given = None) -> Opened:
    """Reads a file, makes example inputs where none are given, and compares the module with onnxruntime on them.

    Raises:
        InputError: the file cannot be read, or what is given does not fit it.
        CaptureError: an operator is not known, or PyTorch and onnxruntime differ; the message names the node.
    """
    module = module_of(read_model(path))
    inputs = examples(module, given)
    _compare(module, inputs, Path(path))
    return Opened(module, inputs, declared_sizes(module.signature))


def _compare(module: OnnxModule, inputs: Sequence[Tensor], path: Path) -> None:
    with torch.no_grad():
        results = module(*inputs)
    feed = {item.name: value.numpy() for item, value in zip(module.signature, inputs, strict=True)}
    try:
        expected = session(path).run(list(results), feed)
    except Exception as error:  # onnxruntime's errors have no common base class
        raise CaptureError(
            f"onnxruntime does not run {path.name} on the example inputs: {first_line(error, 300)}",
            "give example inputs that it takes",
        ) from error
    for (name, result), array in zip(results.items(), expected, strict=True):
        if not _is_equal(result, np.asarray(array)):
            raise CaptureError(
                f"the output {name} is not what onnxruntime computes on the example inputs",
                "please report the file: graphprune computes an operator of it otherwise",
            )


def _is_equal(result: Tensor, expected: Any) -> bool:
    if tuple(result.shape) != expected.shape:
        return False
    if not result.is_floating_point():
        return bool(np.mean(result.numpy() == expected) > 0.99) if expected.size else True
    values, wanted = result.to(torch.float64), torch.from_numpy(expected.astype(np.float64))
    scale = float(wanted[wanted.isfinite()].abs().max()) if wanted.isfinite().any() else 1.0
    return torch.allclose(values, wanted, rtol=0.0, atol=LIMIT * max(scale, 1e-6), equal_nan=True)

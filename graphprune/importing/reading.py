"""A file as a module with example inputs, compared with onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphprune.ground.dynamic import Declared
from graphprune.ground.errors import CaptureError, GraphpruneError, VerificationError
from graphprune.importing.control import UNSEEN
from graphprune.importing.denormals import denormals_of, flushed
from graphprune.importing.examples import Given, examples
from graphprune.importing.file import read_model
from graphprune.importing.interpreter import OnnxModule, module_of
from graphprune.importing.running import values_of
from graphprune.importing.signature import declared_sizes
from graphprune.importing.values import is_half

__all__ = ["Opened", "is_file", "open_file"]

SUFFIX = ".onnx"
HALF_LIMIT = 5e-2  # onnxruntime rounds every value to float16 on the way, PyTorch none
SAME = 1e-6  # likewise, of outputs that nobody could tell apart
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
            _compare(module, inputs, Path(path))
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
    if not all(_is_equal(torch.as_tensor(after[name]), before[name], SAME) for name in names):
        return module
    made.denormals, made.unflushed = count, module.source
    return made


def _has_weights_without(model: Any, refused: set[str]) -> bool:
    """Whether anything is left to cut where these nodes are not run."""
    return any(True for _ in module_of(model, refused).parameters())


def _compare(module: OnnxModule, inputs: Sequence[Tensor], path: Path) -> None:
    with torch.no_grad():
        results = {name: value for name, value in module(*inputs).items() if not name.startswith(UNSEEN)}
    feed = {item.name: value.numpy() for item, value in zip(module.signature, inputs, strict=True)}
    try:
        expected = values_of(module.source, feed, results, path.name)
    except VerificationError as error:
        raise CaptureError(
            f"onnxruntime: {error.message}, on the example inputs", "give example inputs that it takes"
        ) from error
    for name, result in results.items():
        if not _is_equal(result, np.asarray(expected[name])):
            raise CaptureError(
                f"the output {name} is not what onnxruntime computes on the example inputs",
                "please report the file: graphprune computes an operator of it otherwise",
            )


def _is_equal(result: Tensor, expected: Any, most: float = LIMIT) -> bool:
    if tuple(result.shape) != expected.shape:
        return False
    if not result.is_floating_point():
        return bool(np.mean(result.numpy() == expected) > 0.99) if expected.size else True
    values, wanted = result.to(torch.float64), torch.from_numpy(expected.astype(np.float64))
    scale = float(wanted[wanted.isfinite()].abs().max()) if wanted.isfinite().any() else 1.0
    limit = HALF_LIMIT if is_half(expected) else most
    return torch.allclose(values, wanted, rtol=0.0, atol=limit * max(scale, 1e-6), equal_nan=True)

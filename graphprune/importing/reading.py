"""A file as a module with example inputs, compared with onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
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
from graphprune.importing.simplified import simplified

__all__ = ["AS_USUAL", "Opened", "Tidying", "is_file", "open_file", "tidying_of"]

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


@dataclass(frozen=True)
class Tidying:
    """What becomes of a file when it is read, before anything is pruned.

    Args:
        keep_denormals: leave numbers below the smallest normal one as they are, see `graphprune.importing.denormals`.
        simplify: compute what depends on constants alone, and drop what nobody reads.
    """

    keep_denormals: bool = False
    simplify: bool = False


AS_USUAL = Tidying()


def tidying_of(options: Mapping[str, Any]) -> Tidying:
    """What options of `shrink`, or a plan's record of them, say of it."""
    return Tidying(**{item.name: bool(options.get(item.name)) for item in fields(Tidying)})


def is_file(model: Any) -> bool:
    """Whether a model is named as an ONNX file."""
    return isinstance(model, str | Path) and str(model).endswith(SUFFIX)


def open_file(path: str | Path, given: Given = None, tidying: Tidying = AS_USUAL) -> Opened:
    """Reads a file, makes example inputs where none are given, and compares the module with onnxruntime on them.

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
            if not tidying.keep_denormals and (small := denormals_of(model)):
                denormals = f"{sum(small.values()):,} denormal numbers of the file are zeros now"
                module = _tidied(module, inputs, flushed(module.source), denormals)
            if tidying.simplify:
                less = simplified(module.source)
                gone = len(module.source.graph.node) - len(less.graph.node)
                module = _tidied(
                    module, inputs, less, f"{gone} nodes that only constants need, or nobody, are gone"
                )
            module.tidying = tidying
            return Opened(module, inputs, declared_sizes(module.signature))


def _tidied(module: OnnxModule, inputs: Sequence[Tensor], model: Any, what: str) -> OnnxModule:
    """The module of another file, where its outputs are those of the module's own."""
    feed = {item.name: value.numpy() for item, value in zip(module.signature, inputs, strict=True)}
    names = [item.name for item in module.source.graph.output]
    made = module_of(model, module.refused)
    before, after = (values_of(item.source, feed, names, "the file") for item in (module, made))
    if not all(is_equal(torch.as_tensor(after[name]), before[name], SAME) for name in names):
        return module
    made.tidied, made.given = (*module.tidied, what), module.given or module.source
    return made


def _has_weights_without(model: Any, refused: set[str]) -> bool:
    """Whether anything is left to cut where these nodes are not run."""
    return any(True for _ in module_of(model, refused).parameters())

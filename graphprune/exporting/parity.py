"""Whether an ONNX file in onnxruntime agrees with the model, and whether a disagreement would show at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map_only

from graphprune.capture.dimensions import Dimension
from graphprune.capture.inputs import Inputs, with_sizes
from graphprune.exporting.runtime import Array, match_inputs, runner, session, to_numpy
from graphprune.exporting.serialised import Serialised
from graphprune.ground.arguments import tensor_leaves
from graphprune.ground.errors import ExportError

__all__ = ["BATCHES", "Parity", "Valued", "largest_error", "parity", "sample"]

BATCHES: tuple[Mapping[str, int], ...] = ({"batch": 1}, {"batch": 3})
_Reference = Callable[[Any], list[Array]]
Judge = Callable[[Inputs, list[Array], list[Array]], tuple[float, str]]


@dataclass(frozen=True)
class Parity:
    """How far the file's outputs are from the model's, over all outputs at some sizes of the inputs.

    Attributes:
        sizes: the sizes that were set, by the names of the file's dimensions; the others are the example's.
        max_abs: largest absolute difference.
        max_rel: largest over the outputs of (largest absolute difference / largest absolute value).
        change: what other inputs change in the model's outputs, measured as `max_rel` is, at the smallest of all
            sizes compared; None where there are no other inputs to try. Where it is tiny, agreement shows little:
            whatever lies between input and output could be wrong.
        left: `max_rel`, or what `judge` left of it, and its ``note``.
    """

    sizes: Mapping[str, int]
    max_abs: float
    max_rel: float
    change: float | None
    left: float = 0.0
    note: str = ""

    def __str__(self) -> str:
        return ", ".join(f"{name} {size}" for name, size in self.sizes.items()) or "as in the example"


def parity(
    file: Any,
    model: nn.Module,
    inputs: Inputs,
    sizes: Sequence[Mapping[str, int]] = BATCHES,
    seed: int = 0,
    judge: Judge | None = None,
) -> list[Parity]:
    """Compare the file in onnxruntime with the model in PyTorch on random inputs.

    Args:
        file: the path of an exported file, a model in memory, or a session.
        model: the model it was exported from, in eval mode; see `Valued` for a file of other values.
        inputs: example arguments and keywords. Floating tensors are replaced by normal random numbers of their
            shape at the sizes, others keep their values, repeated or cut to the sizes.
        sizes: what to compare at, by the names of the file's dimensions; names that it has not are left aside.
        seed: of the random numbers.
        judge: says what counts of a difference, and why, from the arguments, the model's outputs and the file's.

    Raises:
        ExportError: onnxruntime fails on the file, or gives outputs of another number or shape.
    """
    loaded = session(file) if isinstance(file, Path | Serialised) else file
    reference, generator = _reference(model), torch.Generator().manual_seed(seed)
    every = _drawn(loaded, inputs, sizes, generator)
    least = min((given for _, given in every), key=_numbers)
    rows, change = [], None
    for at, given in every:
        expected = reference(given)
        rows.append(_compare(loaded, given, expected, at, judge))
        if given is least:
            change = _change(reference, given, expected, generator)
    return [replace(row, change=change) for row in rows]


def sample(file: Any, inputs: Inputs, sizes: Sequence[Mapping[str, int]] = BATCHES, seed: int = 0) -> Inputs:
    """Arguments and keywords on which `parity` compares when it is called with the same options: the smallest ones."""
    drawn = _drawn(file, inputs, sizes, torch.Generator().manual_seed(seed))
    return min((given for _, given in drawn), key=_numbers)


def _numbers(inputs: Inputs) -> int:
    return sum(tensor.numel() for tensor in tensor_leaves(inputs))


def _drawn(
    loaded: Any, inputs: Inputs, sizes: Sequence[Mapping[str, int]], generator: torch.Generator
) -> list[tuple[dict[str, int], Inputs]]:
    """Sizes, and arguments of these sizes with new values in floating tensors."""
    dimensions = _dimensions(loaded, inputs)
    names = {dimension.name for dimension in dimensions}
    known = [{name: size for name, size in at.items() if name in names} for at in sizes]
    return [
        (at, _renewed_all(with_sizes(inputs, dimensions, at), generator))
        for number, at in enumerate(known)
        if at not in known[:number]
    ]


def _dimensions(loaded: Any, inputs: Inputs) -> list[Dimension]:
    """The dimensions of the inputs that the file names."""
    shapes = {value.name: value.shape for value in loaded.get_inputs()}
    leaves = tree_leaves(inputs)
    places = {id(leaf): place for place, leaf in enumerate(leaves)}
    return [
        Dimension(name, places[id(tensor)], dim, tensor.shape[dim], size)
        for name, tensor in match_inputs(list(shapes), *inputs).items()
        for dim, size in enumerate(shapes[name])
        if isinstance(size, str)
    ]


def _renewed_all(inputs: Inputs, generator: torch.Generator) -> Inputs:
    return tree_map_only(Tensor, lambda tensor: _renewed(tensor, generator), inputs)


def _renewed(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Other values, if they are floating."""
    if not tensor.is_floating_point():
        return tensor
    return torch.randn(tensor.shape, generator=generator).to(tensor)


class Valued(nn.Module):
    """A model with other values in the place of its own parameters and buffers.

    Args:
        tensors: by name, the ones that a file was written with; names that the model lacks are left aside.
    """

    def __init__(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model = model
        # one name for each tied tensor: a value is wanted once
        own = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]
        self.held = {name: tensors[name] for name in own if name in tensors}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return functional_call(self.model, self.held, args, kwargs)


def _reference(model: nn.Module) -> _Reference:
    """The model in PyTorch: what it gives for arguments and keywords."""

    def outputs(inputs: Any) -> list[Array]:
        args, kwargs = inputs
        with torch.no_grad():
            return [to_numpy(tensor) for tensor in tensor_leaves(model(*args, **kwargs))]

    return outputs


def _compare(
    loaded: Any, inputs: Any, expected: list[Array], sizes: Mapping[str, int], judge: Judge | None
) -> Parity:
    found = runner(loaded, *inputs)()
    if not expected or len(found) != len(expected):
        raise ExportError(
            f"the file has {len(found)} outputs, the model {len(expected)}", "export the model again"
        )
    errors = [
        largest_error(wanted, output, value.name)
        for wanted, output, value in zip(expected, found, loaded.get_outputs(), strict=True)
    ]
    max_abs, max_rel = (max(column) for column in zip(*errors, strict=True))
    left, note = judge(inputs, expected, found) if judge else (max_rel, "")
    return Parity(sizes, max_abs, max_rel, None, min(left, max_rel), note)


def _change(
    reference: _Reference, inputs: Any, expected: list[Array], generator: torch.Generator
) -> float | None:
    """What other inputs change in the outputs, relative to the largest value of each; None if not to be known."""
    others = _others(inputs, generator)
    if all(map(torch.equal, tensor_leaves(inputs), tensor_leaves(others))):
        return None
    try:
        outputs = reference(others)
    except (RuntimeError, IndexError, ValueError):
        return None  # integers may mean something else in other places
    return max(map(_change_of, expected, outputs))


def _change_of(one: Array, other: Array) -> float:
    if one.shape != other.shape:
        return float("inf")
    finite = numpy.isfinite(one) & numpy.isfinite(other)
    return largest_error(numpy.where(finite, one, 0), numpy.where(finite, other, 0), "")[1]


def _others(inputs: Any, generator: torch.Generator) -> Any:
    """New floating tensors; without any, integers in reverse order, which are still in their range."""
    if any(tensor.is_floating_point() for tensor in tensor_leaves(inputs)):
        return _renewed_all(inputs, generator)
    return tree_map_only(Tensor, lambda tensor: tensor.flip(-1) if tensor.dim() else tensor, inputs)


def largest_error(reference: Array, output: Array, name: str) -> tuple[float, float]:
    """Largest absolute and relative difference; infinite where only one of the two is finite."""
    if reference.shape != output.shape:
        shapes = f"{list(output.shape)} in onnxruntime, {list(reference.shape)} in PyTorch"
        raise ExportError(f"output {name!r} has shape {shapes}", "export with a fixed batch size")
    wide, other = reference.astype(numpy.float64), output.astype(numpy.float64)
    same = (wide == other) | (numpy.isnan(wide) & numpy.isnan(other))
    with numpy.errstate(invalid="ignore"):
        difference = numpy.where(same, 0.0, numpy.abs(wide - other))
    largest = float(numpy.nan_to_num(difference, nan=numpy.inf).max(initial=0.0))
    scale = float(numpy.abs(wide[numpy.isfinite(wide)]).max(initial=0.0))
    return largest, largest / scale if scale else (0.0 if largest == 0.0 else float("inf"))

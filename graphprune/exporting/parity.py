"""Does an ONNX file in onnxruntime agree with the model, and would it show if it did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map

from graphprune.exporting.feeds import match_inputs, to_numpy
from graphprune.exporting.runtime import Array, runner, session
from graphprune.ground.errors import ExportError

__all__ = ["Parity", "parity", "samples"]


@dataclass(frozen=True)
class Parity:
    """How far the file's outputs are from the model's, over all outputs at one batch size.

    Attributes:
        batch: number of samples.
        max_abs: largest absolute difference.
        max_rel: largest over the outputs of (largest absolute difference / largest absolute value).
        change: what other inputs change in the model's outputs, measured as `max_rel` is; None where there are
            no other inputs to try. Where it is tiny, agreement shows little: whatever lies between input and
            output could be wrong.
    """

    batch: int
    max_abs: float
    max_rel: float
    change: float | None


def parity(
    path: Path,
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    batch_sizes: Sequence[int] = (1, 3),
    seed: int = 0,
    tensors: Mapping[str, Tensor] | None = None,
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
        tensors: values by name in the place of the model's own parameters and buffers, the ones that the file
            was written with; names that the model lacks are left aside.

    Raises:
        ExportError: onnxruntime fails on the file, or gives outputs of another number or shape.
    """
    loaded = session(path)
    generator = torch.Generator().manual_seed(seed)
    drawn = _drawn(loaded, args, kwargs, batch_sizes, generator)
    reference = _Reference(model, tensors or {})
    return [_compare(loaded, reference, inputs, batch, generator) for batch, inputs in drawn.items()]


def samples(
    path: Path,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    batch_sizes: Sequence[int] = (1, 3),
    seed: int = 0,
) -> list[Any]:
    """The arguments and keywords that `parity` compares on, given the same."""
    generator = torch.Generator().manual_seed(seed)
    return list(_drawn(session(path), args, kwargs, batch_sizes, generator).values())


def _drawn(
    loaded: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    batch_sizes: Sequence[int],
    generator: torch.Generator,
) -> dict[int, Any]:
    """By size of the batch."""
    symbolic = {
        value.name for value in loaded.get_inputs() if value.shape and not isinstance(value.shape[0], int)
    }
    names = [value.name for value in loaded.get_inputs()]
    examples = match_inputs(names, args, kwargs)
    if not symbolic:
        first = next((tensor for tensor in examples.values() if tensor.dim() > 0), torch.zeros(1))
        batch_sizes = (first.shape[0],)
    changing = {id(tensor) for name, tensor in examples.items() if name in symbolic}
    return {batch: _inputs((args, dict(kwargs)), changing, batch, generator) for batch in batch_sizes}


class _Reference:
    """The model in PyTorch, on the values it is to have."""

    def __init__(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        self.model = model
        # one name for each tied tensor: a value is wanted once
        own = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]
        self.held = {name: tensors[name] for name in own if name in tensors}

    def __call__(self, inputs: Any) -> list[Array]:
        with torch.no_grad():
            outputs = functional_call(self.model, self.held, *inputs)
        return [to_numpy(leaf) for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]


def _compare(
    loaded: Any, reference: _Reference, inputs: Any, batch: int, generator: torch.Generator
) -> Parity:
    found = runner(loaded, *inputs)()
    expected = reference(inputs)
    if not expected or len(found) != len(expected):
        raise ExportError(
            f"the file has {len(found)} outputs, the model {len(expected)}", "export the model again"
        )
    errors = [
        _error(wanted, output, value.name)
        for wanted, output, value in zip(expected, found, loaded.get_outputs(), strict=True)
    ]
    return Parity(
        batch=batch,
        max_abs=max(absolute for absolute, _ in errors),
        max_rel=max(relative for _, relative in errors),
        change=_change(reference, inputs, expected, generator),
    )


def _change(
    reference: _Reference, inputs: Any, expected: list[Array], generator: torch.Generator
) -> float | None:
    """What other inputs change in the outputs, relative to the largest value of each; None if not to be known."""
    others = _others(inputs, generator)
    pairs = zip(_tensors(inputs), _tensors(others), strict=True)
    if all(torch.equal(one, other) for one, other in pairs):
        return None
    try:
        outputs = reference(others)
    except (RuntimeError, IndexError, ValueError):
        return None  # integers may mean something else in other places
    changes = [_change_of(*pair) for pair in zip(expected, outputs, strict=True)]
    return max(changes)


def _change_of(one: Array, other: Array) -> float:
    if one.shape != other.shape:
        return float("inf")
    finite = numpy.isfinite(one) & numpy.isfinite(other)
    return _error(numpy.where(finite, one, 0), numpy.where(finite, other, 0), "")[1]


def _others(inputs: Any, generator: torch.Generator) -> Any:
    """New floating tensors; without any, integers in reverse order, which are still in their range."""
    floating = any(leaf.is_floating_point() for leaf in _tensors(inputs))

    def renew(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if leaf.is_floating_point():
            return torch.randn(leaf.shape, generator=generator).to(leaf)
        return leaf if floating or leaf.dim() == 0 else leaf.flip(-1)

    return tree_map(renew, inputs)


def _tensors(inputs: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]


def _inputs(example: Any, changing: set[int], batch: int, generator: torch.Generator) -> Any:
    """`example` with new values in its floating tensors and `batch` samples in the `changing` ones."""

    def renew(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if id(leaf) in changing:
            repeats = -(-batch // leaf.shape[0])
            leaf = torch.cat([leaf] * repeats)[:batch]
        if leaf.is_floating_point():
            return torch.randn(leaf.shape, generator=generator).to(leaf)
        return leaf

    return tree_map(renew, example)


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

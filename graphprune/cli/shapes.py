"""``--input-shape``: from text to example inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from graphprune.ground.errors import InputError

__all__ = ["Inputs", "parse_shape", "parse_shapes", "reshaped", "standard_inputs"]

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
Shape = tuple[int, ...]


def parse_shape(text: str) -> Shape:
    """``"1,3,224,224"`` as a tuple.

    Raises:
        InputError: it is not a list of positive whole numbers.
    """
    try:
        shape = tuple(int(size) for size in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise InputError(
            f"--input-shape {text!r} is not a shape",
            "give positive whole numbers, the batch first, such as 1,3,224,224",
        )
    return shape


def parse_shapes(texts: Sequence[str]) -> tuple[Shape, ...]:
    """One shape for each time the option is given."""
    return tuple(map(parse_shape, texts))


def standard_inputs(shapes: Sequence[Shape], seed: int) -> Inputs:
    """One standard-normal float32 tensor for each shape, as positional arguments."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=generator) for shape in shapes), {}


def reshaped(example: Inputs, shapes: Sequence[Shape], seed: int) -> Inputs:
    """``example`` with other shapes: one for all of its tensors, or one for each.

    Floating tensors are drawn anew from the standard normal distribution, whole numbers between the least
    and the largest of the example's, since they may be indices into a table.

    Raises:
        InputError: the number of shapes is neither one nor the number of tensors.
    """
    if not shapes:
        return example
    tensors = [leaf for leaf in pytree.tree_leaves(example) if isinstance(leaf, Tensor)]
    if len(shapes) not in (1, len(tensors)):
        raise InputError(
            f"{len(shapes)} input shapes are given for a model of {len(tensors)} input tensors",
            "give --input-shape once for all of them, or once for each",
        )
    wanted = iter(shapes if len(shapes) == len(tensors) else list(shapes) * len(tensors))
    generator = torch.Generator().manual_seed(seed)

    def draw(leaf: Any) -> Any:
        return _like(leaf, next(wanted), generator) if isinstance(leaf, Tensor) else leaf

    redrawn: Inputs = pytree.tree_map(draw, example)
    return redrawn


def _like(tensor: Tensor, shape: Shape, generator: torch.Generator) -> Tensor:
    if tensor.is_floating_point() or tensor.is_complex():
        return torch.randn(shape, generator=generator).to(tensor.dtype)
    if tensor.dtype == torch.bool:
        return torch.ones(shape, dtype=torch.bool)
    low, high = int(tensor.min()), int(tensor.max())
    return torch.randint(low, high + 1, shape, generator=generator).to(tensor.dtype)

"""What is shared by all definitions for removed elements: see `fuzz_masks`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["ATEN", "INF", "Held", "Unknown", "cleared", "even", "ones", "safe", "zeroed"]

ATEN = torch.ops.aten
INF = float("inf")


class Unknown(Exception):
    """No definition is given for an operator, or for what is removed of its tensors."""


@dataclass
class Held:
    """A result and its twin; ``plain`` if zeros in the place of what is removed give the same result."""

    value: Any
    mask: Any
    plain: bool = True


def zeroed(value: Tensor, mask: Tensor) -> Tensor:
    if bool(mask.all()):
        return value
    if value.dtype is torch.bool or not value.is_floating_point():
        return value * mask.to(value.dtype)
    return torch.where(mask > 0, value, torch.zeros((), dtype=value.dtype))


def ones(tensor: Tensor) -> Tensor:
    """A twin of which nothing is removed."""
    return torch.ones(tensor.shape, dtype=torch.float64)


def even(mask: Tensor, dims: list[int]) -> bool:
    """Whether the same is kept at every position of ``dims``."""
    return not dims or bool((mask.amax(dims) == mask.amin(dims)).all())


def cleared(value: Tensor, mask: Tensor) -> Held:
    """A result, zero where it is removed; plain if it was so without this."""
    result = zeroed(value, mask)
    return Held(result, mask, result is value or torch.equal(result, value))


def safe(value: Tensor, mask: Tensor) -> Tensor:
    """Numbers in the place of what is removed, at which no derivative is infinite, as that of a root is at 0."""
    if not value.is_floating_point() or bool(mask.all()):
        return value
    filler = torch.linspace(1, 2, value.numel(), dtype=value.dtype).reshape(value.shape)
    return torch.where(mask > 0, value, filler)

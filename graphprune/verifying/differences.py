"""How far two results are from one another, and how much of that rounding explains."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

import torch
from torch import Tensor

__all__ = ["TOLERANCE", "beyond_rounding", "deviation", "largest_error", "relative_error", "relative_move"]

# relative to the largest value of the same tensor; accumulation in another order is all that may differ
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}

# two orders of arithmetic differ by so many times what random moves of a few units make of a value
MARGIN = 16
# What rounding moves somewhere in a tensor may be expected anywhere in it, up to this part of its largest value, or as
# far as it moves several elements: where cancellation strikes is a matter of chance. More is granted only to those
# elements that did move so far, such as the few beside a threshold.
ANYWHERE = 1e-2


def largest_error(expected: Iterable[Tensor], given: Iterable[Tensor]) -> float:
    """The largest `relative_error` of pairs of tensors."""
    return max((relative_error(*pair) for pair in zip(expected, given, strict=True)), default=0.0)


def relative_error(expected: Tensor, given: Tensor) -> float:
    """``max |given - expected| / max |expected|``, infinite where shapes, or what is not finite, differ."""
    if expected.shape != given.shape:
        return float("inf")
    expected, given = _real(expected), _real(given)
    if not expected.is_floating_point():
        return 0.0 if torch.equal(expected, given) else float("inf")
    if not expected.numel():
        return 0.0
    apart = _largest(given - expected)
    if isfinite(apart):  # then all of both is finite
        return apart / _unit(expected)
    finite = torch.isfinite(expected)
    if not torch.equal(finite, torch.isfinite(given)):
        return float("inf")
    if not torch.allclose(expected[~finite], given[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    expected, given = expected[finite], given[finite]
    return float((given - expected).abs().max()) / _unit(expected)


def deviation(expected: Tensor, given: Tensor) -> Tensor:
    """``|given - expected|`` of every element, in float64; infinite where they differ and are no finite numbers.

    Counts, positions and truth values that differ are infinitely far apart, and so is all of a tensor of other shape.
    """
    expected, given = _real(expected), _real(given)
    if expected.shape != given.shape:
        return torch.full(expected.shape, torch.inf, dtype=torch.float64, device=expected.device)
    same = (expected == given) | (expected.isnan() & given.isnan())
    apart = torch.full(expected.shape, torch.inf, dtype=torch.float64, device=expected.device)
    if expected.is_floating_point():
        apart = (given.double() - expected.double()).abs().nan_to_num(torch.inf, torch.inf)
    return apart.masked_fill(same, 0)


def relative_move(expected: Tensor, moved: Tensor) -> float:
    """The largest of ``moved``, as `deviation` gives it, relative to the largest value of ``expected``."""
    return float(moved.max()) / _unit(_real(expected)) if moved.numel() else 0.0


def beyond_rounding(expected: Tensor, given: Tensor, moved: Tensor) -> float:
    """The `relative_error` that is left when each element may differ by what rounding alone makes of it.

    Args:
        moved: the largest `deviation` of each element in runs whose values were moved by a few units of rounding.
    """
    if expected.shape != given.shape:
        return float("inf")
    unit = _unit(_real(expected))
    left = deviation(expected, given) - MARGIN * (moved + _anywhere(moved, unit))
    return max(float(left.nan_to_num(0, torch.inf).max()), 0.0) / unit if left.numel() else 0.0


def _anywhere(moved: Tensor, unit: float) -> float:
    """How far rounding may have moved any element."""
    finite = moved[moved.isfinite()].flatten()
    several = max(int(finite.numel() ** 0.5) // 4, 4)  # a quarter of the diagonal of a square
    top = finite.topk(min(several, finite.numel())).values
    if not top.numel():
        return 0.0
    return max(
        min(float(top[0]), ANYWHERE / MARGIN * unit), float(top[-1]) if top.numel() == several else 0.0
    )


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _largest(tensor: Tensor) -> float:
    """The largest magnitude of real numbers; NaN where one is."""
    least, most = torch.aminmax(tensor)
    return abs(float(torch.maximum(-least, most)))  # no -0.0


def _unit(expected: Tensor) -> float:
    """The largest finite value, to which errors are relative; one, where that is zero."""
    if not expected.is_floating_point():
        return 1.0
    scale = _largest(expected) if expected.numel() else 0.0
    if not isfinite(scale):
        finite = expected[expected.isfinite()]
        scale = _largest(finite) if finite.numel() else 0.0
    # below the smallest normal number digits are lost, in float16 already under 6e-5
    return max(scale, torch.finfo(expected.dtype).smallest_normal) if scale else 1.0

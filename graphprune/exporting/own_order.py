"""Medians and distances of pairs, which torch's library lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from graphprune.exporting.own_call import Call, Row

__all__ = ["ORDER"]


def _median(call: Call, x: Any) -> Any:
    flat = call.op.Reshape(x, [-1])
    return call.op.Squeeze(_lower_median(call, flat, 0, x.dtype.is_floating_point())[0], [0])


def _median_along(call: Call, *args: Any, **kwargs: Any) -> Any:
    given = call.bound(args, kwargs)
    x, dim = given["self"], given["dim"]
    if not len(x.shape):
        return None
    found = _lower_median(call, x, dim % len(x.shape), x.dtype.is_floating_point())
    return found if given["keepdim"] else [call.op.Squeeze(one, [dim]) for one in found]


def _lower_median(call: Call, x: Any, dim: int, floating: bool) -> list[Any]:
    """The last of the smaller half, of which an odd number has one more, or the first NaN; and its place."""
    op = call.op
    size = op.Shape(x, start=dim, end=dim + 1)
    half = op.Div(op.Add(size, op.Constant(value_ints=[1])), op.Constant(value_ints=[2]))
    smallest = op.TopK(x, half, axis=dim, largest=0, sorted=1)
    found = [op.Slice(one, [-1], [2**63 - 1], [dim]) for one in smallest]
    if not floating:
        return found
    # the first NaN is the median, where there is one
    place = op.ArgMax(op.CastLike(op.IsNaN(x), x), axis=dim, keepdims=1)
    first = op.GatherElements(x, place, axis=dim)
    return [op.Where(op.IsNaN(first), *pair) for pair in zip((first, place), found, strict=True)]


def _distances(call: Call, *args: Any, **kwargs: Any) -> Any:
    """Of every row to every other: of the differences, the norm of that power."""
    given, op = call.bound(args, kwargs), call.op
    power = given["p"]
    one, other = op.Unsqueeze(given["x1"], [-2]), op.Unsqueeze(given["x2"], [-3])
    # with one leading dimension fewer, the other still meets the right one
    difference = op.Sub(one, other)
    if power in (1, 2):
        return (op.ReduceL1 if power == 1 else op.ReduceL2)(difference, [-1], keepdims=False)
    if power == float("inf"):
        return op.ReduceMax(op.Abs(difference), [-1], keepdims=False)
    if power == 0:
        return None
    exponent, root = (
        op.CastLike(op.Constant(value_float=number), difference) for number in (power, 1 / power)
    )
    return op.Pow(op.ReduceSum(op.Pow(op.Abs(difference), exponent), [-1], keepdims=False), root)


ORDER: Mapping[Any, Row] = {
    torch.ops.aten.median.default: _median,
    torch.ops.aten.median.dim: _median_along,
    torch.ops.aten.cdist.default: _distances,
    torch.ops.aten._cdist_forward.default: _distances,
}

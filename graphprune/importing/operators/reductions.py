"""Reductions, and what looks for the largest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from graphprune.importing.node import Node, Operator

__all__ = ["OPERATORS"]

_Reduction = Callable[[Tensor, list[int], bool], Tensor]


def _reduction(function: _Reduction) -> Operator:
    """The axes are an input since opset 18, of ReduceSum since 13, and an attribute before."""

    def compute(node: Node, x: Tensor, given: Sequence[int] | None = None) -> Tensor:
        axes = node["axes"] if given is None else given
        if not axes and node["noop_with_empty_axes"]:
            return function(x.unsqueeze(-1), [-1], False)  # each element by itself
        dims = [axis % x.dim() for axis in axes] if axes else list(range(x.dim()))
        return function(x, dims, bool(node["keepdims"])) if dims else x

    return Operator(compute, counts=(1,))


def _sum(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    return x.sum(dims, keep, dtype=x.dtype)


def _product(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    for dim in sorted(dims, reverse=True):
        x = x.prod(dim, keep, dtype=x.dtype)
    return x


def _extreme(function: Callable[..., Tensor]) -> _Reduction:
    def reduce(x: Tensor, dims: list[int], keep: bool) -> Tensor:
        if x.dtype == torch.bool:
            return function(x.to(torch.uint8), dims, keep).to(torch.bool)
        return function(x, dims, keep)

    return reduce


def _mean(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    if x.is_floating_point():
        return x.mean(dims, keep)
    count = torch.Size([x.shape[dim] for dim in dims]).numel()
    return torch.div(_sum(x, dims, keep), count, rounding_mode="trunc")


def _length(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    return _sum(x.square(), dims, keep).sqrt() if x.is_floating_point() else _sum(x * x, dims, keep)


def _log_sum_exp(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    return torch.logsumexp(x, dims, keep)


def _place(function: Callable[..., Tensor]) -> Operator:
    """Where the largest stands; of several the first, or the last."""

    def compute(node: Node, x: Tensor) -> Tensor:
        axis, keep = node["axis"], bool(node["keepdims"])
        if node["select_last_index"]:
            return x.shape[axis] - 1 - function(x.flip(axis), dim=axis, keepdim=keep)
        return function(x, dim=axis, keepdim=keep)

    return Operator(compute)


def _top(node: Node, x: Tensor, count: Sequence[int] | None = None) -> Any:
    """How many is an attribute before opset 10. Of equal ones those that stand first are taken, as topk does not."""
    wanted, axis = node["k"] if count is None else count[0], node["axis"]
    values, places = torch.sort(x, dim=axis, descending=node["largest"] != 0, stable=True)
    return values.narrow(axis, 0, wanted), places.narrow(axis, 0, wanted)


def _running(function: Callable[..., Tensor], start: float) -> Operator:
    """A running sum or product; exclusive: of all elements before."""

    def compute(node: Node, x: Tensor, axis: Any) -> Tensor:
        dim = axis[0] if isinstance(axis, list) else axis
        x = x.flip(dim) if node["reverse"] else x
        if node["exclusive"]:
            first = torch.full_like(x.narrow(dim, 0, 1), start)
            x = torch.cat([first, x.narrow(dim, 0, x.shape[dim] - 1)], dim)
        x = function(x, dim=dim, dtype=x.dtype)
        return x.flip(dim) if node["reverse"] else x

    return Operator(compute, counts=(1,))


OPERATORS = {
    "ArgMax": _place(torch.argmax),
    "ArgMin": _place(torch.argmin),
    "CumProd": _running(torch.cumprod, 1),
    "CumSum": _running(torch.cumsum, 0),
    "ReduceL1": _reduction(lambda x, dims, keep: _sum(x.abs(), dims, keep)),
    "ReduceL2": _reduction(_length),
    "ReduceLogSum": _reduction(lambda x, dims, keep: _sum(x, dims, keep).log()),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "ReduceMax": _reduction(_extreme(torch.amax)),
    "ReduceMean": _reduction(_mean),
    "ReduceMin": _reduction(_extreme(torch.amin)),
    "ReduceProd": _reduction(_product),
    "ReduceSum": _reduction(_sum),
    "ReduceSumSquare": _reduction(lambda x, dims, keep: _sum(x * x, dims, keep)),
    "TopK": Operator(_top, counts=(1,)),
}

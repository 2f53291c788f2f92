"""Pools."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from graphprune.importing.node import Node, Operator
from graphprune.importing.operators.windows import Window, padded, window

__all__ = ["OPERATORS"]

_LARGEST = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _function(node: Node, functions: dict[int, Any]) -> Any:
    rank = len(node["kernel_shape"])
    if rank not in functions:
        raise node.refusal(f"it works along {rank} dimensions, and there are pools along 1 to 3")
    return functions[rank]


def _fits(at: Window) -> bool:
    """Whether torch pads so: evenly, and at most half of the kernel."""
    return at.is_even and all(2 * pad <= size for pad, size in zip(at.before, at.kernel, strict=True))


def _largest(node: Node, x: Tensor) -> Tensor:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.refusal("it gives the places of the largest values too")
    function, dtype = _function(node, _LARGEST), x.dtype
    if not x.is_floating_point():
        x = x.to(torch.float64)  # torch has no pool of whole numbers; of up to 32 bits all are exact
    at = window(node, x, node["kernel_shape"])
    before: Any = at.before
    if not _fits(at):
        x, before = padded(x, at, float("-inf")), 0
    pooled = function(x, at.kernel, at.stride, before, at.dilation, bool(node["ceil_mode"]))
    return pooled if pooled.dtype == dtype else pooled.to(dtype)


def _average(node: Node, x: Tensor) -> Tensor:
    function = _function(node, _AVERAGE)
    at = window(node, x, node["kernel_shape"])
    if any(step > 1 for step in at.dilation):
        raise node.refusal("its window has gaps (dilations), and torch's average pools have none")
    ceil, whole = bool(node["ceil_mode"]), bool(node["count_include_pad"])
    if _fits(at):
        result: Tensor = function(x, at.kernel, at.stride, at.before, ceil, whole)
        return result
    pooled: Tensor = function(padded(x, at), at.kernel, at.stride, 0, ceil)
    if whole:
        return pooled
    ones = padded(torch.ones_like(x[:1, :1]), at)
    return pooled / function(ones, at.kernel, at.stride, 0, ceil)


def _power(node: Node, x: Tensor) -> Tensor:
    """The p-norm of each window."""
    function = _function(node, _AVERAGE)
    at = window(node, x, node["kernel_shape"])
    if any(step > 1 for step in at.dilation) or node["ceil_mode"]:
        raise node.refusal("its window has gaps (dilations), or lies over the edge")
    p = node["p"]
    count = torch.Size(at.kernel).numel()
    powers = padded(x.abs().pow(p), at)
    means: Tensor = function(powers, at.kernel, at.stride)
    return (means * count).pow(1.0 / p)


def _spatial(x: Tensor) -> list[int]:
    return list(range(2, x.dim()))


def _global_norm(node: Node, x: Tensor) -> Tensor:
    return x.abs().pow(node["p"]).sum(_spatial(x), keepdim=True).pow(1.0 / node["p"])


OPERATORS = {
    "AveragePool": Operator(_average),
    "GlobalAveragePool": Operator(lambda node, x: x.mean(_spatial(x), keepdim=True)),
    "GlobalLpPool": Operator(_global_norm),
    "GlobalMaxPool": Operator(lambda node, x: x.amax(_spatial(x), keepdim=True)),
    "LpPool": Operator(_power),
    "MaxPool": Operator(_largest),
}

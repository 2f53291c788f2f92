"""Convolutions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from graphprune.importing.node import Node, Operator
from graphprune.importing.operators.windows import padded, window

__all__ = ["OPERATORS", "convolution"]

_FORWARD = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def _of_rank(node: Node, functions: dict[int, Any], rank: int) -> Any:
    if rank not in functions:
        raise node.refusal(f"it works along {rank} dimensions, and there are convolutions along 1 to 3")
    return functions[rank]


def convolution(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    function = _of_rank(node, _FORWARD, weight.dim() - 2)
    at = window(node, x, weight.shape[2:])
    if not at.is_even:
        x, at = padded(x, at), replace(at, before=(0,) * len(at.kernel))
    result: Tensor = function(x, weight, bias, at.stride, at.before, at.dilation, node["group"])
    return result


def _transposed(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What torch pads is cut off evenly; where it is not, the whole is computed and cut."""
    function = _of_rank(node, _TRANSPOSED, weight.dim() - 2)
    kernel = tuple(weight.shape[2:])
    count = len(kernel)
    stride, dilation = tuple(node["strides"] or [1] * count), tuple(node["dilations"] or [1] * count)
    more = tuple(node["output_padding"] or [0] * count)
    before, after = _cut_off(node, x, kernel, stride, dilation, more)
    form = (stride, more, node["group"], dilation)
    fits = all(
        extra < max(pair) for extra, pair in zip(more, zip(stride, dilation, strict=True), strict=True)
    )
    if before == after and fits:
        result: Tensor = function(x, weight, bias, stride, before, *form[1:])
        return result
    if not fits:
        raise node.refusal(f"output_padding {list(more)} is as large as the stride")
    whole: Tensor = function(x, weight, bias, stride, 0, *form[1:])
    for dim, (start, end) in enumerate(zip(before, after, strict=True)):
        whole = whole.narrow(2 + dim, start, whole.shape[2 + dim] - start - end)
    return whole


def _cut_off(
    node: Node,
    x: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    more: tuple[int, ...],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How much of the whole result is left out before and after, by dimension."""
    count, auto = len(kernel), node["auto_pad"] or "NOTSET"
    wanted = node["output_shape"]
    if wanted is None and auto == "NOTSET":
        pads = tuple(node["pads"] or [0] * (2 * count))
        return pads[:count], pads[count:]
    if wanted is None and auto == "VALID":
        return (0,) * count, (0,) * count
    sizes = x.shape[2:]
    wanted = wanted[-count:] if wanted else [size * step for size, step in zip(sizes, stride, strict=True)]
    totals = [
        stride[dim] * (sizes[dim] - 1) + more[dim] + (kernel[dim] - 1) * dilation[dim] + 1 - wanted[dim]
        for dim in range(count)
    ]
    if min(totals) < 0:
        raise node.refusal("it gives more than the strides do: its output_shape pads the result")
    less, rest = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
    return (less, rest) if auto == "SAME_UPPER" else (rest, less)


OPERATORS = {"Conv": Operator(convolution), "ConvTranspose": Operator(_transposed)}

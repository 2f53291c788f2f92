"""Whole numbers of 8 and 16 bits that stand for floats, by a scale and a zero point."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphprune.importing.node import Node, Operator, free
from graphprune.importing.operators.convolutions import convolution

__all__ = ["OPERATORS", "beside", "dequantised", "quantised", "quantised_by_range", "shifted"]


def beside(item: Tensor, x: Tensor, axis: int) -> Tensor:
    """A scale or zero point, shaped so that it stands along ``axis`` of ``x``; one number for all stays one."""
    if item.numel() == 1:
        return item.reshape(())
    return item.reshape([-1 if dim == axis % x.dim() else 1 for dim in range(x.dim())])


def _check(node: Node) -> None:
    if node["block_size"]:
        raise node.refusal("it has scales by block")


def dequantised(x: Tensor, scale: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    values = x.to(torch.int32)
    if zero is not None:
        values = values - beside(zero, x, axis).to(torch.int32)
    return values.to(scale.dtype) * beside(scale, x, axis)


def quantised(x: Tensor, scale: Tensor, zero: Tensor, axis: int) -> Tensor:
    limits = torch.iinfo(zero.dtype)
    steps = torch.round(x / beside(scale, x, axis)) + beside(zero, x, axis).to(x.dtype)
    return torch.clamp(steps, limits.min, limits.max).to(zero.dtype)


def _dequantise(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    _check(node)
    return dequantised(x, scale, zero, 1 if node["axis"] is None else node["axis"])


def _quantise(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    _check(node)
    if zero is None:
        if node["output_dtype"]:
            raise node.refusal("it says its type without a zero point")
        zero = torch.zeros((), dtype=torch.uint8)
    if zero.is_floating_point():
        raise node.refusal(f"it quantises to {zero.dtype}")
    return quantised(x, scale, zero, 1 if node["axis"] is None else node["axis"])


def quantised_by_range(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The range of the tensor itself, widened to hold 0, in 255 steps."""
    low, high = torch.clamp(x.amin(), max=0.0), torch.clamp(x.amax(), min=0.0)
    scale = (high - low) / 255
    zero = torch.clamp(torch.round(-low / scale), 0, 255).to(torch.uint8)
    return quantised(x, scale, zero, 0), scale, zero


def shifted(x: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    """In double precision, where sums of so small numbers are exact."""
    x64 = x.to(torch.float64)
    return x64 if zero is None else x64 - beside(zero, x, axis).to(torch.float64)


def _matmul(
    node: Node, a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None
) -> Tensor:
    return torch.matmul(shifted(a, a_zero, -2), shifted(b, b_zero, -1)).to(torch.int32)


def _conv(
    node: Node, x: Tensor, w: Tensor, x_zero: Tensor | None = None, w_zero: Tensor | None = None
) -> Tensor:
    return convolution(node, shifted(x, x_zero, 1), shifted(w, w_zero, 0)).to(torch.int32)


def _linear_matmul(node: Node, a: Tensor, a_scale: Tensor, a_zero: Tensor, b: Tensor, *given: Any) -> Tensor:
    b_scale, b_zero, y_scale, y_zero = given
    product = torch.matmul(shifted(a, a_zero, -2), shifted(b, b_zero, -1))
    result = product * beside(a_scale, product, -2) * beside(b_scale, product, -1)
    return quantised(result.to(torch.float32), y_scale.to(torch.float32), y_zero, -2)


def _linear_conv(node: Node, x: Tensor, x_scale: Tensor, x_zero: Tensor, w: Tensor, *given: Any) -> Tensor:
    w_scale, w_zero, y_scale, y_zero, *bias = given
    product = convolution(
        node, shifted(x, x_zero, 1), shifted(w, w_zero, 0), *(item.to(torch.float64) for item in bias)
    )
    result = product * x_scale * beside(w_scale, product, 1)
    return quantised(result.to(torch.float32), y_scale, y_zero, 1)


OPERATORS = {
    "ConvInteger": Operator(_conv),
    "DequantizeLinear": Operator(_dequantise),
    "DynamicQuantizeLinear": free(quantised_by_range),
    "MatMulInteger": Operator(_matmul),
    "QLinearConv": Operator(_linear_conv),
    "QLinearMatMul": Operator(_linear_matmul),
    "QuantizeLinear": Operator(_quantise),
}

"""Operators that compute each element by itself."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from graphprune.importing.node import DTYPES, Node, Operator, free

__all__ = ["OPERATORS"]


def _division(x: Tensor, y: Tensor) -> Tensor:
    """Of whole numbers towards zero."""
    return torch.div(x, y) if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def _remainder(node: Node, x: Tensor, y: Tensor) -> Tensor:
    return torch.fmod(x, y) if node["fmod"] else torch.remainder(x, y)


def _power(x: Tensor, y: Tensor) -> Tensor:
    """In the dtype of the base."""
    if x.is_floating_point() and not y.is_floating_point():
        y = y.to(x.dtype)
    return torch.pow(x, y).to(x.dtype)


def _several(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """An operator of two tensors, given any number of them."""
    return free(lambda *tensors: functools.reduce(function, tensors))


def _mean(*tensors: Tensor) -> Tensor:
    return functools.reduce(torch.add, tensors) / len(tensors)


def _clip(node: Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """The limits are attributes before opset 11."""
    if node.opset < 11:
        return torch.clamp(x, node["min"], node["max"])
    if low is not None:
        x = torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def _cast(node: Node, x: Tensor) -> Tensor:
    dtype = DTYPES.get(node["to"])
    if dtype is None:
        raise node.refusal(f"it casts to the ONNX type {node['to']}")
    return _to(x, dtype)


def _to(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x if x.dtype == dtype else x.to(dtype)


def _shift(node: Node, x: Tensor, y: Tensor) -> Tensor:
    return torch.bitwise_left_shift(x, y) if node["direction"] == "LEFT" else torch.bitwise_right_shift(x, y)


def _slopes(x: Tensor, slope: Tensor) -> Tensor:
    """Where the slope is one for each channel, as in torch; else it is broadcast as others are."""
    channels = slope.shape[0] if slope.dim() and slope.numel() == slope.shape[0] else 0
    if x.dim() == slope.dim() + 1 and channels == x.shape[1]:
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, x * slope, x)


def _shrink(node: Node, x: Tensor) -> Tensor:
    bias, limit = node["bias"], node["lambd"]
    zero = torch.zeros_like(x)
    return torch.where(x < -limit, x + bias, torch.where(x > limit, x - bias, zero))


def _dropout(node: Node, x: Tensor, ratio: Any = None, training: Any = None) -> Any:
    """Nothing, as in eval mode."""
    if training:
        raise node.refusal("it is in training mode", "export the model in eval mode")
    return (x, torch.ones_like(x, dtype=torch.bool)) if len(node.outputs) > 1 else x


def _is_infinite(node: Node, x: Tensor) -> Tensor:
    found = torch.isinf(x)
    if not node["detect_positive"]:
        found = found & (x < 0)
    return found if node["detect_negative"] else found & (x > 0)


def _along(function: Callable[..., Tensor]) -> Operator:
    """A softmax; before opset 13 it is one of a matrix, whose rows are the dimensions before ``axis``."""

    def compute(node: Node, x: Tensor) -> Tensor:
        axis = node["axis"]
        if node.opset >= 13 or axis in (-1, x.dim() - 1):
            return function(x, dim=axis)
        flat = x.flatten(axis)
        return function(flat, dim=-1).reshape(x.shape)

    return Operator(compute)


def _hardmax(x: Tensor, dim: int) -> Tensor:
    places = torch.argmax(x, dim=dim, keepdim=True)
    return torch.zeros_like(x).scatter(dim, places, 1.0)


_SAME: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Add": torch.add,
    "And": torch.logical_and,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseNot": torch.bitwise_not,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Div": _division,
    "Equal": torch.eq,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "HardSwish": F.hardswish,
    "Identity": lambda x: x,
    "IsNaN": torch.isnan,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Log": torch.log,
    "Mean": _mean,
    "Mish": F.mish,
    "Mul": torch.mul,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Or": torch.logical_or,
    "PRelu": _slopes,
    "Pow": _power,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Sqrt": torch.sqrt,
    "Sub": torch.sub,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
    "Where": torch.where,
    "Xor": torch.logical_xor,
    "CastLike": lambda x, other: _to(x, other.dtype),
}

OPERATORS = {
    **{name: free(function) for name, function in _SAME.items()},
    "BitShift": Operator(_shift),
    "Cast": Operator(_cast),
    "Celu": Operator(lambda node, x: F.celu(x, node["alpha"])),
    "Clip": Operator(_clip),
    "Dropout": Operator(_dropout, counts=(1, 2)),
    "Elu": Operator(lambda node, x: F.elu(x, node["alpha"])),
    "Gelu": Operator(lambda node, x: F.gelu(x, approximate=node["approximate"])),
    "HardSigmoid": Operator(lambda node, x: torch.clamp(x * node["alpha"] + node["beta"], 0.0, 1.0)),
    "Hardmax": _along(_hardmax),
    "IsInf": Operator(_is_infinite),
    "LeakyRelu": Operator(lambda node, x: F.leaky_relu(x, node["alpha"])),
    "LogSoftmax": _along(torch.log_softmax),
    "Max": _several(torch.maximum),
    "Min": _several(torch.minimum),
    "Mod": Operator(_remainder),
    "Selu": Operator(lambda node, x: node["gamma"] * F.elu(x, node["alpha"])),
    "Shrink": Operator(_shrink),
    "Softmax": _along(torch.softmax),
    "Sum": _several(torch.add),
    "Swish": Operator(lambda node, x: x * torch.sigmoid(node["alpha"] * x)),
    "ThresholdedRelu": Operator(lambda node, x: F.threshold(x, node["alpha"], 0.0)),
}

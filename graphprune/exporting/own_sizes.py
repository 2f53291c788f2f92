"""Arithmetic on sizes, in whole numbers as Python does it, or in double precision."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from graphprune.exporting.own_call import Call, Row, numbers
from graphprune.exporting.promotion import cast

__all__ = ["SIZES"]


def _on_numbers(name: str) -> Row:
    """An operator of ONNX on two sizes, or on numbers that were computed from sizes."""

    def row(call: Call, one: Any, other: Any) -> Any:
        return getattr(call.op, name)(*numbers(call, one, other))

    return row


def _quotient(call: Call, one: Any, other: Any) -> Any:
    return call.op.Div(*numbers(call, one, other, dtype=torch.float64))


def _floor_quotient(call: Call, one: Any, other: Any) -> Any:
    """ONNX divides towards zero, Python towards minus infinity: what is left over goes first."""
    divided = call.node.args[0]
    one, other = numbers(call, one, other)
    if not isinstance(divided, fx.Node) or not _never_negative(divided):
        one = call.op.Sub(one, call.op.Mod(one, other))
    return call.op.Div(one, other)


def _never_negative(node: fx.Node) -> bool:
    """Whether a size can only be zero or more: it is one of a tensor, or the product of some."""
    if node.target is torch.ops.aten.sym_size.int:
        return True
    return node.target in (operator.add, operator.mul, operator.floordiv) and all(
        _never_negative(arg) if isinstance(arg, fx.Node) else isinstance(arg, int) and arg >= 0
        for arg in node.args
    )


def _whole(name: str) -> Row:
    def row(call: Call, value: Any) -> Any:
        (number,) = numbers(call, value, dtype=torch.float64)
        return cast(call.library, _typed(getattr(call.op, name)(number), torch.float64), torch.int64)

    return row


def _float(call: Call, value: Any) -> Any:
    return numbers(call, value, dtype=torch.float64)[0]


def _real(name: str) -> Row:
    """A function of one number in double precision."""
    return lambda call, value: _typed(getattr(call.op, name)(_float(call, value)), torch.float64)


def _logarithm(base: float) -> Row:
    """ONNX has the natural one."""

    def row(call: Call, value: Any) -> Any:
        natural = _typed(call.op.Log(_float(call, value)), torch.float64)
        return _typed(
            call.op.Div(*numbers(call, natural, math.log(base), dtype=torch.float64)), torch.float64
        )

    return row


def _truncated(call: Call, value: Any) -> Any:
    """A cast cuts off what is behind the point."""
    return cast(call.library, _float(call, value), torch.int64)


def _typed(value: Any, dtype: torch.dtype) -> Any:
    import onnx_ir

    value.dtype, value.shape = onnx_ir.tensor_adapters.from_torch_dtype(dtype), onnx_ir.Shape([])
    return value


def _negative(call: Call, value: Any) -> Any:
    return call.op.Neg(value)


SIZES: Mapping[Any, Row] = {
    operator.add: _on_numbers("Add"),
    operator.sub: _on_numbers("Sub"),
    operator.mul: _on_numbers("Mul"),
    operator.mod: _on_numbers("Mod"),
    operator.pow: _on_numbers("Pow"),
    operator.floordiv: _floor_quotient,
    operator.truediv: _quotient,
    operator.neg: _negative,
    torch.sym_max: _on_numbers("Max"),
    torch.sym_min: _on_numbers("Min"),
    max: _on_numbers("Max"),
    min: _on_numbers("Min"),
    float: _float,
    torch.sym_float: _float,
    int: _truncated,
    torch.sym_int: _truncated,
    math.ceil: _whole("Ceil"),
    math.floor: _whole("Floor"),
    round: _whole("Round"),
    math.trunc: _truncated,
    math.sqrt: _real("Sqrt"),
    math.log: _real("Log"),
    math.log2: _logarithm(2.0),
    math.log10: _logarithm(10.0),
    math.exp: _real("Exp"),
}

"""Operators that torch's library lacks, or translates for fixed sizes only, written with the operators of ONNX.

A row takes the node's arguments as the library does: values, numbers and lists of them. It returns the node's result,
or None where the library is to translate after all.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from graphprune.exporting.forms import Form
from graphprune.exporting.operator_library import Library
from graphprune.exporting.promotion import cast

__all__ = ["OWN", "Call"]


@dataclass(frozen=True)
class Call:
    """The node that is translated, and what it gives."""

    library: Library
    node: fx.Node
    form: Any

    @property
    def op(self) -> Any:
        return self.library.op

    def aten(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.library.aten(name)(*args, **kwargs)


Row = Callable[..., Any]


# -- sizes ------------------------------------------------------------------------------------------------------


def _on_numbers(name: str) -> Row:
    """An operator of ONNX on two sizes, or on numbers that were computed from sizes."""

    def row(call: Call, one: Any, other: Any) -> Any:
        return getattr(call.op, name)(*_numbers(call, one, other))

    return row


def _numbers(call: Call, *values: Any, dtype: torch.dtype | None = None) -> list[Any]:
    """Values of one type; whole numbers if all are."""
    import onnx_ir

    if dtype is None:
        whole = all(
            isinstance(value, int) or getattr(value, "dtype", None) == onnx_ir.DataType.INT64 for value in values
        )
        dtype = torch.int64 if whole else torch.float64
    kind = onnx_ir.tensor_adapters.from_torch_dtype(dtype)
    return [
        cast(call.library, value, dtype)
        if isinstance(value, onnx_ir.Value)
        else call.op.Constant(value=onnx_ir.tensor(value, dtype=kind))
        for value in values
    ]


def _quotient(call: Call, one: Any, other: Any) -> Any:
    return call.op.Div(*_numbers(call, one, other, dtype=torch.float64))


def _floor_quotient(call: Call, one: Any, other: Any) -> Any:
    """ONNX divides towards zero, Python towards minus infinity: what is left over goes first."""
    divided = call.node.args[0]
    one, other = _numbers(call, one, other)
    if not isinstance(divided, fx.Node) or not _never_negative(divided):
        one = call.op.Sub(one, call.op.Mod(one, other))
    return call.op.Div(one, other)


def _never_negative(node: fx.Node) -> bool:
    """Whether a size can only be zero or more: it is one of a tensor, or the product of some."""
    if node.target is torch.ops.aten.sym_size.int:
        return True
    return node.target in (operator.add, operator.mul, operator.floordiv) and all(
        _never_negative(arg) if isinstance(arg, fx.Node) else isinstance(arg, int) and arg >= 0 for arg in node.args
    )


def _whole(name: str) -> Row:
    def row(call: Call, value: Any) -> Any:
        (number,) = _numbers(call, value, dtype=torch.float64)
        return cast(call.library, _typed(getattr(call.op, name)(number), torch.float64), torch.int64)

    return row


def _typed(value: Any, dtype: torch.dtype) -> Any:
    import onnx_ir

    value.dtype, value.shape = onnx_ir.tensor_adapters.from_torch_dtype(dtype), onnx_ir.Shape([])
    return value


def _negative(call: Call, value: Any) -> Any:
    return call.op.Neg(value)


_SIZES: Mapping[Any, Row] = {
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
    math.ceil: _whole("Ceil"),
    math.floor: _whole("Floor"),
}

# -- the same operator under another name --------------------------------------------------------------------------


def _batch_norm(
    call: Call, x: Any, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float, *_: Any
) -> Any:
    if training or mean is None:
        return None
    return call.aten("_native_batch_norm_legit_no_training.default", x, weight, bias, mean, var, momentum, eps)[0]


def _to(call: Call, x: Any, dtype: Any, *_: Any, **__: Any) -> Any:
    return x if dtype == x.dtype else call.op.Cast(x, to=dtype)


def _transposed_convolution(
    call: Call,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    output_padding: Sequence[int] = (0, 0),
    groups: int = 1,
    dilation: Sequence[int] = (1, 1),
) -> Any:
    rank = len(weight.shape) - 2
    stride, padding, output_padding, dilation = (
        list(one) * rank if len(one) == 1 else list(one)[:rank] for one in (stride, padding, output_padding, dilation)
    )
    return call.aten(
        "convolution.default", x, weight, bias, stride, padding, dilation, True, output_padding, groups
    )


def _padded_convolution(
    call: Call,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Sequence[int] = (1, 1),
    padding: str = "valid",
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Any:
    """PyTorch puts the odd one of "same" behind."""
    rank = len(weight.shape) - 2
    if len(x.shape) != rank + 2:
        return None
    stride, dilation = (list(one) * rank if len(one) == 1 else list(one)[:rank] for one in (stride, dilation))
    totals = [
        (size - 1) * step if padding == "same" else 0 for size, step in zip(weight.shape[2:], dilation, strict=True)
    ]
    pads = [total // 2 for total in totals] + [total - total // 2 for total in totals]
    given = (x, weight) if bias is None else (x, weight, bias)
    return call.op.Conv(*given, strides=stride, pads=pads, dilations=dilation, group=groups)


def _reshape(call: Call, x: Any, shape: Sequence[Any]) -> Any:
    """A single size that varies follows from the others."""
    import onnx_ir

    varying = [place for place, size in enumerate(shape) if isinstance(size, onnx_ir.Value)]
    if len(varying) != 1 or any(size in (-1, 0) for size in shape if isinstance(size, int)):
        return None
    return call.aten("view.default", x, [-1 if place in varying else size for place, size in enumerate(shape)])


def _attention(call: Call, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
    """The library wants four dimensions."""
    rank = len(query.shape)
    if rank != 3 or not all(len(one.shape) == 3 for one in (key, value)):
        return None
    mask = args[0] if args else kwargs.get("attn_mask")
    wide = [_unsqueezed(call, one) for one in (query, key, value)]
    if mask is not None and len(mask.shape) == 3:
        rest = {name: value for name, value in kwargs.items() if name != "attn_mask"}
        result = call.aten(
            "scaled_dot_product_attention.default", *wide, _unsqueezed(call, mask), *args[1:], **rest
        )
    else:
        result = call.aten("scaled_dot_product_attention.default", *wide, *args, **kwargs)
    return call.op.Squeeze(result, [0])


def _unsqueezed(call: Call, value: Any) -> Any:
    import onnx_ir

    wide = call.op.Unsqueeze(value, [0])
    wide.dtype, wide.shape = value.dtype, onnx_ir.Shape([1, *value.shape])
    return wide


# -- pooling to a given size ---------------------------------------------------------------------------------------


def _adaptive_average(call: Call, x: Any, wanted: Sequence[Any]) -> Any:
    """A mean where one cell is wanted, a pooling where the cells are alike, else a product with a matrix of shares."""
    sizes = _fixed(x, len(wanted))
    cells = [wanted[-1]] * len(sizes) if len(wanted) < len(sizes) else list(wanted)
    if all(cell == 1 for cell in cells):
        return call.op.ReduceMean(x, [-place for place in range(len(cells), 0, -1)], keepdims=True)
    if all(isinstance(size, int) and isinstance(cell, int) and size % cell == 0 for size, cell in zip(sizes, cells)):
        kernel = [size // cell for size, cell in zip(sizes, cells, strict=True)]
        return call.op.AveragePool(x, kernel_shape=kernel, strides=kernel)
    for place, cell in enumerate(reversed(cells)):
        x = _averaged(call, x, len(cells) - place, cell)
    return x


def _fixed(x: Any, count: int) -> list[Any]:
    return [x.shape[dim] for dim in range(len(x.shape) - count, len(x.shape))]


def _bounds(call: Call, x: Any, behind: int, cells: Any) -> tuple[Any, Any, Any]:
    """The size of the dimension that is ``behind`` the last, and where each cell begins and ends in it."""
    op, rank = call.op, len(x.shape)
    size = op.Shape(x, start=rank - behind, end=rank - behind + 1)
    (count,) = _numbers(call, cells)
    zero, one = _numbers(call, 0, 1)
    places = op.Range(zero, count, one)
    start = op.Div(op.Mul(places, size), count)
    end = op.Div(op.Sub(op.Add(op.Mul(op.Add(places, one), size), count), one), count)
    return size, start, end


def _averaged(call: Call, x: Any, behind: int, cells: Any) -> Any:
    """The mean of each cell along one dimension."""
    import onnx_ir

    op, rank = call.op, len(x.shape)
    size, start, end = _bounds(call, x, behind, cells)
    zero, one = _numbers(call, 0, 1)
    places = op.Unsqueeze(op.Range(zero, op.Squeeze(size, [0]), one), [1])
    within = op.And(op.GreaterOrEqual(places, start), op.Less(places, end))
    shares = op.Div(op.Cast(within, to=x.dtype), op.Cast(op.Sub(end, start), to=x.dtype))
    order = list(range(rank))
    order[rank - behind], order[-1] = order[-1], order[rank - behind]
    last = behind == 1
    made = op.MatMul(x if last else op.Transpose(x, perm=order), shares)
    made = made if last else op.Transpose(made, perm=order)
    made.dtype, made.shape = x.dtype, onnx_ir.Shape([None] * rank)
    return made


def _adaptive_maximum(call: Call, x: Any, wanted: Sequence[Any]) -> Any:
    import onnx_ir

    op, rank = call.op, len(x.shape)
    if any(user.args[1] != 0 for user in call.node.users) or not all(isinstance(cell, int) for cell in wanted):
        return None  # places of the largest are wanted
    for place, cells in enumerate(wanted):
        axis = rank - len(wanted) + place
        _, start, end = _bounds(call, x, len(wanted) - place, cells)
        parts = [
            op.ReduceMax(op.Slice(x, op.Slice(start, [i], [i + 1]), op.Slice(end, [i], [i + 1]), [axis]), [axis])
            for i in range(cells)
        ]
        x = op.Concat(*parts, axis=axis)
        x.shape = onnx_ir.Shape([None] * rank)
    return [x, None]


OWN: Mapping[Any, Row] = {
    **_SIZES,
    torch.ops.aten.batch_norm.default: _batch_norm,
    torch.ops.aten.to.dtype: _to,
    torch.ops.aten.conv_transpose1d.default: _transposed_convolution,
    torch.ops.aten.conv_transpose2d.input: _transposed_convolution,
    torch.ops.aten.conv_transpose3d.input: _transposed_convolution,
    torch.ops.aten.conv1d.padding: _padded_convolution,
    torch.ops.aten.conv2d.padding: _padded_convolution,
    torch.ops.aten.conv3d.padding: _padded_convolution,
    torch.ops.aten.reshape.default: _reshape,
    torch.ops.aten.view.default: _reshape,
    torch.ops.aten.scaled_dot_product_attention.default: _attention,
    torch.ops.aten.adaptive_avg_pool1d.default: _adaptive_average,
    torch.ops.aten.adaptive_avg_pool2d.default: _adaptive_average,
    torch.ops.aten.adaptive_avg_pool3d.default: _adaptive_average,
    torch.ops.aten.adaptive_max_pool1d.default: _adaptive_maximum,
    torch.ops.aten.adaptive_max_pool2d.default: _adaptive_maximum,
    torch.ops.aten.adaptive_max_pool3d.default: _adaptive_maximum,
}

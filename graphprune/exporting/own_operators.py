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

from graphprune.capture.operators import bound
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

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by the names of the operator's schema, defaults filled in."""
        return bound(self.node.target, args, kwargs)  # type: ignore[arg-type]

    def aten(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.library.aten(name)(*args, **kwargs)


Row = Callable[..., Any]
_LAST = 2**63 - 1  # behind the end of any dimension


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


def _batch_norm(call: Call, *args: Any, **kwargs: Any) -> Any:
    given = call.bound(args, kwargs)
    if given["training"] or given["running_mean"] is None:
        return None
    named = [given[name] for name in "input weight bias running_mean running_var momentum eps".split()]
    return call.aten("_native_batch_norm_legit_no_training.default", *named)[0]


def _as(name: str) -> Row:
    """Torch's library has it under another name."""
    return lambda call, *args, **kwargs: call.aten(name, *args, **kwargs)


def _to(call: Call, *args: Any, **kwargs: Any) -> Any:
    given = call.bound(args, kwargs)
    x, dtype = given["self"], given.get("dtype")
    # -1 stands for none
    return x if dtype in (None, -1, x.dtype) else call.op.Cast(x, to=dtype)


def _reversed_difference(call: Call, *args: Any, **kwargs: Any) -> Any:
    given = call.bound(args, kwargs)
    one = given["self"]
    if given["alpha"] != 1:
        one = call.op.Mul(one, _constant(call, given["alpha"], one))
    return call.op.Sub(_constant(call, given["other"], one), one)


def _differences(call: Call, *args: Any, **kwargs: Any) -> Any:
    """Between neighbours."""
    given, op = call.bound(args, kwargs), call.op
    around = [given[name] for name in ("prepend", "self", "append") if given[name] is not None]
    rank = len(given["self"].shape)
    dim = given["dim"] % rank
    if given["n"] != 1 or given["self"].dtype == _boolean():
        return None
    x = op.Concat(*around, axis=dim) if len(around) > 1 else around[0]
    return op.Sub(op.Slice(x, [1], [_LAST], [dim]), op.Slice(x, [0], [-1], [dim]))


def _boolean() -> Any:
    import onnx_ir

    return onnx_ir.DataType.BOOL


def _constant(call: Call, value: Any, like: Any) -> Any:
    import onnx_ir

    if isinstance(value, onnx_ir.Value):
        return value
    return call.op.Constant(value=onnx_ir.tensor(value, dtype=like.dtype))


def _type_of(call: Call, x: Any, other: Any) -> Any:
    return x if x.dtype == other.dtype else call.op.Cast(x, to=other.dtype)


def _spread(result: int) -> Row:
    """The standard deviation or variance, and the mean."""

    def row(call: Call, *args: Any, **kwargs: Any) -> Any:
        given = call.bound(args, kwargs)
        x, dims, keep = given["self"], given["dim"], given["keepdim"]
        dims = list(range(len(x.shape))) if dims is None else list(dims)
        name = ("var.correction", "std.correction")[result]
        spread = call.aten(name, x, dims, correction=given.get("correction", _unbiased(given)), keepdim=keep)
        return [spread, call.op.ReduceMean(x, dims, keepdims=keep)]

    return row


def _unbiased(given: Mapping[str, Any]) -> int:
    return int(given.get("unbiased", True))


def _transposed_convolution(call: Call, *args: Any, **kwargs: Any) -> Any:
    given = call.bound(args, kwargs)
    stride, padding, output_padding, dilation = (
        _each(given[name], given["weight"]) for name in ("stride", "padding", "output_padding", "dilation")
    )
    tensors = given["input"], given["weight"], given["bias"]
    return call.aten(
        "convolution.default", *tensors, stride, padding, dilation, True, output_padding, given["groups"]
    )


def _padded_convolution(call: Call, *args: Any, **kwargs: Any) -> Any:
    """Of an odd padding, PyTorch puts the larger half behind."""
    given = call.bound(args, kwargs)
    x, weight = given["input"], given["weight"]
    if len(x.shape) != len(weight.shape):
        return None
    stride, dilation = (_each(given[name], weight) for name in ("stride", "dilation"))
    wide = given["padding"] == "same"
    totals = [(size - 1) * step * wide for size, step in zip(weight.shape[2:], dilation, strict=True)]
    pads = [total // 2 for total in totals] + [total - total // 2 for total in totals]
    tensors = (x, weight) if given["bias"] is None else (x, weight, given["bias"])
    return call.op.Conv(*tensors, strides=stride, pads=pads, dilations=dilation, group=given["groups"])


def _each(numbers: Sequence[int], weight: Any) -> list[int]:
    """A number for each spatial dimension of a kernel."""
    rank = len(weight.shape) - 2
    return list(numbers) * rank if len(numbers) == 1 else list(numbers)


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
    **{getattr(torch.ops.aten.to, name): _to for name in ("dtype", "dtype_layout", "device", "other")},
    torch.ops.aten.diff.default: _differences,
    torch.ops.aten.type_as.default: _type_of,
    torch.ops.aten.rsub.Scalar: _reversed_difference,
    torch.ops.aten.rsub.Tensor: _reversed_difference,
    torch.ops.aten.__and__.Tensor: _as("bitwise_and.Tensor"),
    torch.ops.aten.__or__.Tensor: _as("bitwise_or.Tensor"),
    torch.ops.aten.__xor__.Tensor: _as("bitwise_xor.Tensor"),
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

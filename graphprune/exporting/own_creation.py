"""Tensors that are made of sizes, or moved by them, where torch's library wants sizes that are fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch

from graphprune.exporting.own_call import Call, Row, numbers
from graphprune.exporting.promotion import cast

__all__ = ["CREATION"]


def _counted(call: Call, many: Any, dtype: torch.dtype = torch.int64) -> Any:
    """0, 1, 2 … up to so many."""
    zero, end, one = numbers(call, 0, many, 1, dtype=dtype)
    return call.op.Range(zero, end, one)


def _eye(call: Call, rows: Any, columns: Any = None, **form: Any) -> Any:
    """Ones where the number of the row is that of the column."""
    down = call.op.Unsqueeze(_counted(call, rows), [1])
    along = call.op.Unsqueeze(_counted(call, rows if columns is None else columns), [0])
    return cast(call.library, _boolean(call.op.Equal(down, along)), call.form.dtype)


def _boolean(value: Any) -> Any:
    import onnx_ir

    value.dtype = onnx_ir.DataType.BOOL
    return value


def _linspace(call: Call, start: Any, end: Any, steps: Any, **form: Any) -> Any:
    """One step is the start, which does not divide by zero."""
    first, last, many, one = numbers(call, start, end, steps, 1, dtype=torch.float64)
    width = call.op.Div(call.op.Sub(last, first), call.op.Max(call.op.Sub(many, one), one))
    found = call.op.Add(first, call.op.Mul(_counted(call, steps, torch.float64), width))
    return cast(call.library, _double(found), call.form.dtype)


def _double(value: Any) -> Any:
    import onnx_ir

    value.dtype = onnx_ir.DataType.DOUBLE
    return value


def _one_hot(call: Call, places: Any, classes: Any = -1) -> Any:
    if isinstance(classes, int):
        return None
    (depth,) = numbers(call, classes)
    return call.op.OneHot(places, depth, call.op.Constant(value_ints=[0, 1]), axis=-1)


def _rolled(call: Call, x: Any, shifts: Sequence[Any], dims: Sequence[int] = ()) -> Any:
    """By sizes, each position is read from as far before it."""
    if all(isinstance(shift, int) for shift in shifts):
        return None
    rank = len(x.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        size = call.op.Squeeze(call.op.Shape(x, start=dim % rank, end=dim % rank + 1), [0])
        zero, (by,) = call.op.Constant(value_int=0), numbers(call, shift)
        positions = call.op.Range(zero, size, call.op.Constant(value_int=1))
        x = call.op.Gather(x, call.op.Mod(call.op.Sub(positions, by), size), axis=dim)
    return x


def _split(call: Call, x: Any, size: Any, dim: int = 0) -> Any:
    """As many pieces as the program has."""
    if isinstance(size, int) or not isinstance(call.form, list):
        return None
    shape = call.op.Constant(value_ints=[1])
    bounds = [call.op.Reshape(call.op.Mul(*numbers(call, size, n)), shape) for n in range(len(call.form) + 1)]
    axes = call.op.Constant(value_ints=[dim])
    return [call.op.Slice(x, start, end, axes) for start, end in pairwise(bounds)]


def _chunks(call: Call, x: Any, chunks: int, dim: int = 0) -> Any:
    """Fewer pieces than were asked for, where one more would be empty: torch's library makes that one too."""
    if not isinstance(call.form, list) or len(call.form) == chunks:
        return None
    sizes = [piece.sizes[dim] for piece in call.form]
    return call.aten("split_with_sizes.default", x, sizes, dim) if all(map(_fixed, sizes)) else None


def _fixed(size: Any) -> bool:
    return isinstance(size, int)


def _each_repeated(call: Call, *args: Any, **kwargs: Any) -> Any:
    """Every row so many times in turn. torch's library repeats whole rows where the number follows from sizes."""
    given, op = call.bound(args, kwargs), call.op
    x, repeats, dim = given["self"], given["repeats"], given["dim"]
    if isinstance(repeats, int):
        return None
    rank = 1 if dim is None else len(x.shape)
    x, dim = (op.Reshape(x, [-1]), 0) if dim is None else (x, dim % rank)
    before, behind = (op.Constant(value_ints=[1] * ones) for ones in (dim + 1, rank - dim - 1))
    repeated = op.Expand(
        op.Unsqueeze(x, [dim + 1]), op.Concat(before, op.Reshape(repeats, [-1]), behind, axis=0)
    )
    sizes = op.Shape(x, start=0, end=dim), op.Constant(value_ints=[-1]), op.Shape(x, start=dim + 1)
    return op.Reshape(repeated, op.Concat(*sizes, axis=0))


CREATION: Mapping[Any, Row] = {
    torch.ops.aten.repeat_interleave.self_int: _each_repeated,
    torch.ops.aten.eye.default: _eye,
    torch.ops.aten.eye.m: _eye,
    torch.ops.aten.linspace.default: _linspace,
    torch.ops.aten.one_hot.default: _one_hot,
    torch.ops.aten.roll.default: _rolled,
    torch.ops.aten.split.Tensor: _split,
    torch.ops.aten.chunk.default: _chunks,
}

"""Pooling to a given number of cells, of any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from graphprune.exporting.own_call import Call, Row, numbers

__all__ = ["POOLING"]


def _adaptive_average(call: Call, x: Any, wanted: Sequence[Any]) -> Any:
    """A mean where one cell is wanted, a pooling where the cells are alike, else a product with a matrix of shares."""
    sizes = _fixed(x, len(wanted))
    cells = [wanted[-1]] * len(sizes) if len(wanted) < len(sizes) else list(wanted)
    if all(cell == 1 for cell in cells):
        return call.op.ReduceMean(x, [-place for place in range(len(cells), 0, -1)], keepdims=True)
    if all(
        isinstance(size, int) and isinstance(cell, int) and size % cell == 0
        for size, cell in zip(sizes, cells, strict=True)
    ):
        kernel = [size // cell for size, cell in zip(sizes, cells, strict=True)]
        return call.op.AveragePool(x, kernel_shape=kernel, strides=kernel)
    for place, cell in enumerate(reversed(cells)):
        x = _averaged(call, x, place + 1, cell)
    return x


def _fixed(x: Any, count: int) -> list[Any]:
    return [x.shape[dim] for dim in range(len(x.shape) - count, len(x.shape))]


def _bounds(call: Call, x: Any, behind: int, cells: Any) -> tuple[Any, Any, Any]:
    """The size of the dimension that is ``behind`` the last, and where each cell begins and ends in it."""
    op, rank = call.op, len(x.shape)
    size = op.Shape(x, start=rank - behind, end=rank - behind + 1)
    (count,) = numbers(call, cells)
    zero, one = numbers(call, 0, 1)
    places = op.Range(zero, count, one)
    start = op.Div(op.Mul(places, size), count)
    end = op.Div(op.Sub(op.Add(op.Mul(op.Add(places, one), size), count), one), count)
    return size, start, end


def _averaged(call: Call, x: Any, behind: int, cells: Any) -> Any:
    """The mean of each cell along one dimension."""
    import onnx_ir

    op, rank = call.op, len(x.shape)
    size, start, end = _bounds(call, x, behind, cells)
    zero, one = numbers(call, 0, 1)
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
    if any(user.args[1] != 0 for user in call.node.users) or not all(
        isinstance(cell, int) for cell in wanted
    ):
        return None  # places of the largest are wanted
    for place, cells in enumerate(wanted):
        axis = rank - len(wanted) + place
        _, start, end = _bounds(call, x, len(wanted) - place, cells)
        parts = [
            op.ReduceMax(
                op.Slice(x, op.Slice(start, [i], [i + 1]), op.Slice(end, [i], [i + 1]), [axis]), [axis]
            )
            for i in range(cells)
        ]
        x = op.Concat(*parts, axis=axis)
        x.shape = onnx_ir.Shape([None] * rank)
    return [x, None]


POOLING: Mapping[Any, Row] = {
    torch.ops.aten.adaptive_avg_pool1d.default: _adaptive_average,
    torch.ops.aten.adaptive_avg_pool2d.default: _adaptive_average,
    torch.ops.aten.adaptive_avg_pool3d.default: _adaptive_average,
    torch.ops.aten.adaptive_max_pool1d.default: _adaptive_maximum,
    torch.ops.aten.adaptive_max_pool2d.default: _adaptive_maximum,
    torch.ops.aten.adaptive_max_pool3d.default: _adaptive_maximum,
}

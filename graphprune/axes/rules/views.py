"""Operators that only rearrange: permutations, reshapes, broadcasts and repetitions."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import torch

from graphprune.axes.call import Call
from graphprune.axes.rules.pointwise import broadcast
from graphprune.axes.rules.table import Table, each
from graphprune.capture.operators import find_operator

__all__ = ["RULES"]

_BY_SIZE = "it is repeated as often as the sizes of the inputs say"


def permutation(call: Call) -> None:
    """The operator itself says the order: it is tried on a tensor whose strides tell its dimensions apart."""
    source, result = call["self"], call.output
    probe = torch.empty([2] * len(source.dims), device="meta")
    others = {name: value for name, value in call.arguments.items() if name != "self"}
    moved = find_operator(call.operation.op)(probe, **others)
    call.unify_all(result.dims, [source.dims[probe.stride().index(stride)] for stride in moved.stride()])


def reshape(call: Call) -> None:
    """Runs of input dimensions become runs of output dimensions over the same positions, in order."""
    source = [axis for axis in call["self"].dims if axis.size != 1]
    result = [axis for axis in call.output.dims if axis.size != 1]
    while source:
        left, right = [source.pop(0)], [result.pop(0)]
        while (a := prod(x.size for x in left)) != (b := prod(x.size for x in right)):
            if a < b:
                left.append(source.pop(0))
            else:
                right.append(result.pop(0))
        call.unify(call.equations.product(left), call.equations.product(right))
    if "other" in call.arguments:  # the very dimensions of another tensor
        call.unify_all(call.output.dims, call["other"].dims)


def repeat(call: Call) -> None:
    """Each dimension becomes ``(r x)``."""
    for axis, result in zip(call["self"].dims[::-1], call.output.dims[::-1], strict=False):
        times = call.equations.atom(result.size // axis.size)
        if call.varies("repeats", "dims"):
            call.pin(times, _BY_SIZE)
        call.unify(result, call.equations.product((times, axis)))


def repeat_interleave(call: Call) -> None:
    """The dimension becomes ``(x r)``, flattened first if none is named; a tensor of counts makes it stay."""
    source, along, times = call["self"], call.get("dim"), call.get("repeats")
    dims = source.dims
    place = 0
    if along is None:
        dims = (call.equations.product(dims),)
    else:
        place = call.dimension(source, along)
    call.unify_all(call.output.dims, dims, but=[place])
    axis, result = dims[place], call.output.dims[place]
    if isinstance(times, int):
        inner = call.equations.atom(times)
        if call.varies("repeats"):
            call.pin(inner, _BY_SIZE)
        call.unify(result, call.equations.product((axis, inner)))
    else:
        call.pin((axis, result, *times.dims), "repeated by data")


def diagonal(call: Call) -> None:
    """Rows and columns of the main diagonal of a square are the same axis; otherwise both stay."""
    source, result = call["self"], call.output.dims
    taken = call.dimensions(source, [call.get("dim1", 0), call.get("dim2", 1)])
    rows, columns = (source.dims[index] for index in taken)
    if rows.size == columns.size and not call.get("offset", 0):
        call.unify(rows, columns)
        call.unify(rows, result[-1])
    else:
        call.pin((rows, columns, result[-1]), "a diagonal is taken")
    call.unify_all(source.without(taken), result[:-1])


def diagonal_embedding(call: Call) -> None:
    """The last dimension becomes the rows and the columns of a square; a diagonal beside the main one stays."""
    source, result = call["self"].dims, call.output
    placed = call.dimensions(result, [call["dim1"], call["dim2"]])
    for dim in placed:
        if call["offset"]:
            call.pin((source[-1], result.dims[dim]), "a diagonal beside the main one")
        else:
            call.unify(result.dims[dim], source[-1])
    call.unify_all(result.without(placed), source[:-1])


def flat_diagonal(call: Call) -> None:
    """All elements in order are the rows, and the columns, of a square."""
    elements = call.equations.product(call["self"].dims)
    for axis in call.output.dims:
        if call["offset"]:
            call.pin((elements, axis), "a diagonal beside the main one")
        else:
            call.unify(axis, elements)


def diagonal_write(call: Call) -> None:
    """A diagonal is written: ``src`` has its positions in the last dimension."""
    source, written = call["self"], call["src"]
    call.unify_all(call.output.dims, source.dims)
    diagonal(replace(call, outputs=(written,)))


def grid(call: Call) -> None:
    """``meshgrid``: a dimension for each vector, the first two in the other order if images are meant ("xy")."""
    axes = [operand.dims[0] if operand.dims else call.equations.atom(1) for operand in call["tensors"]]
    if call.get("indexing") == "xy":
        axes[:2] = axes[1::-1]
    for output in call.outputs:
        call.unify_all(output.dims, axes)


def broadcast_together(call: Call) -> None:
    """All tensors become of one shape."""
    for output in call.outputs:
        call.unify_all(output.dims, call.output.dims)
    call.broadcast(call["tensors"], call.output.dims)


def sum_to_size(call: Call) -> None:
    """The reverse of ``expand``: a dimension that becomes one, or is not there, is summed."""
    call.broadcast([call.output], call["self"].dims)


def triangle(call: Call) -> None:
    """Keeps a triangle of the last two dimensions, which stay."""
    source = call["self"]
    call.unify_all(source.dims, call.output.dims)
    call.pin(source.dims[-2:], "a triangle is taken")


RULES: Table = {
    **each("permute transpose swapaxes swapdims t numpy_T mT movedim adjoint", permutation),
    **each("view reshape view_as reshape_as _unsafe_view flatten unflatten ravel unsqueeze squeeze", reshape),
    **each("atleast_1d atleast_2d atleast_3d", reshape),
    **each("expand broadcast_to", broadcast),
    **each("repeat tile", repeat),
    "aten.repeat_interleave": repeat_interleave,
    "aten.diagonal": diagonal,
    "aten.diag_embed": diagonal_embedding,
    "aten.diagflat": flat_diagonal,
    "aten.diagonal_scatter": diagonal_write,
    "aten.meshgrid": grid,
    "aten.broadcast_tensors": broadcast_together,
    "aten.sum_to_size": sum_to_size,
    **each("tril triu", triangle),
}

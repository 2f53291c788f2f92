"""Operators that only rearrange: permutations, reshapes, broadcasts and repetitions."""

from __future__ import annotations

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


def triangle(call: Call) -> None:
    """Keeps a triangle of the last two dimensions, which stay."""
    source = call["self"]
    call.unify_all(source.dims, call.output.dims)
    call.pin(source.dims[-2:], "a triangle is taken")


RULES: Table = {
    **each("permute transpose swapaxes swapdims t numpy_T mT movedim adjoint", permutation),
    **each("view reshape view_as reshape_as _unsafe_view flatten unflatten unsqueeze squeeze", reshape),
    **each("expand broadcast_to", broadcast),
    **each("repeat tile", repeat),
    "aten.repeat_interleave": repeat_interleave,
    "aten.diagonal": diagonal,
    **each("tril triu", triangle),
}

"""Operators that only rearrange: permutations, reshapes, broadcasts and repetitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from graphprune.axes.call import Call
from graphprune.axes.rules.pointwise import broadcast
from graphprune.axes.rules.table import Rule, Table, each

__all__ = ["RULES"]

_Order = Callable[[Call, int], Sequence[int]]


def _swap(rank: int, first: int, second: int) -> list[int]:
    order = list(range(rank))
    order[first], order[second] = order[second], order[first]
    return order


def _moved(call: Call, rank: int) -> list[int]:
    source = call["self"]
    origin = call.dimensions(source, call["source"])
    target = call.dimensions(source, call["destination"])
    rest = iter([index for index in range(rank) if index not in origin])
    place = dict(zip(target, origin, strict=True))
    return [place[index] if index in place else next(rest) for index in range(rank)]


_ORDERS: dict[str, _Order] = {
    "aten.permute": lambda call, rank: [i % rank for i in call["dims"]],
    "aten.transpose": lambda call, rank: _swap(rank, call["dim0"], call["dim1"]),
    "aten.swapaxes": lambda call, rank: _swap(rank, call["axis0"], call["axis1"]),
    "aten.swapdims": lambda call, rank: _swap(rank, call["dim0"], call["dim1"]),
    "aten.t": lambda call, rank: list(range(rank))[::-1],
    "aten.numpy_T": lambda call, rank: list(range(rank))[::-1],
    "aten.mT": lambda call, rank: _swap(rank, -1, -2),
    "aten.movedim": _moved,
    "aten.adjoint": lambda call, rank: _swap(rank, -1, -2),
}


def _permutation(order: _Order) -> Rule:
    def rule(call: Call) -> None:
        source = call["self"]
        call.unify_all(call.output.dims, [source.dims[index] for index in order(call, len(source.dims))])

    return rule


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


def reshape_as(call: Call) -> None:
    """A reshape to the very dimensions of another tensor."""
    reshape(call)
    call.unify_all(call.output.dims, call["other"].dims)


def repeat(call: Call) -> None:
    """Each dimension becomes ``(r x)``."""
    for axis, result in zip(call["self"].dims[::-1], call.output.dims[::-1], strict=False):
        times = call.equations.atom(result.size // axis.size)
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
        call.unify(result, call.equations.product((axis, call.equations.atom(times))))
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
    **{name: _permutation(order) for name, order in _ORDERS.items()},
    **each("view reshape _unsafe_view flatten unflatten unsqueeze squeeze", reshape),
    **each("view_as reshape_as", reshape_as),
    **each("expand broadcast_to", broadcast),
    **each("repeat tile", repeat),
    "aten.repeat_interleave": repeat_interleave,
    "aten.diagonal": diagonal,
    **each("tril triu", triangle),
}

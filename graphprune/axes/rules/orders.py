"""Operators that put the positions of a dimension into another order: the same units, elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from graphprune.axes.algebra import Axis
from graphprune.axes.call import Call, Operand
from graphprune.axes.rules.table import Table

__all__ = ["RULES", "chosen"]

_BY_SIZE = "it is moved as far as the sizes of the inputs say"


def reorder(call: Call, axis: Axis, result: Axis, order: Sequence[int]) -> None:
    """Position p of ``result`` is position ``order[p]`` of ``axis``; of what is pinned none is left out anyway."""
    _same_units(call, axis)
    if call.equations.pinned(axis) or call.equations.pinned(result):
        call.pin((axis, result), "it is put into another order")
    else:
        call.unify(result, call.equations.permuted(axis, order))


def _same_units(call: Call, axis: Axis) -> None:
    """All positions of ``axis`` keep the same units of the other axes.

    An axis that is pinned later counts as one that was never put into another order, since none of its positions goes.
    But what was chosen for the first of them would then be looked for at another.
    """
    call.across.extend((other, axis) for other in call["self"].dims)


def chosen(call: Call, axis: Axis, result: Axis, positions: Operand) -> bool:
    """Positions of ``axis`` that a stored vector names, each once: the vector loses those that go, and counts anew.

    False where it is not so, or where it makes no difference.
    """
    order = positions.value.positions
    if not order or len(set(order)) < len(order) or min(order) < 0:
        return False
    known = call.points.setdefault(positions.value.name, axis)
    if known is not axis and (known.size != axis.size or call.equations.pinned(axis)):
        call.pin((known, positions.dims[0]), "one vector says positions of several dimensions")
    if known.size != axis.size or call.equations.pinned(axis):
        return False
    _same_units(call, axis)
    call.unify(known, axis)  # the numbers are counted anew in one way only
    rest = sorted(set(range(axis.size)) - set(order))
    part, _ = call.equations.cut(call.equations.permuted(axis, [*order, *rest]), len(order))
    call.unify(result, part)
    call.unify(positions.dims[0], part)
    return True


def backwards(call: Call, axis: Axis, result: Axis) -> None:
    """``result`` is ``axis`` from its end to its beginning."""
    reorder(call, axis, result, range(axis.size - 1, -1, -1))


def flip(call: Call) -> None:
    """Some dimensions run backwards."""
    source, result = call["self"], call.output
    turned = call.dimensions(source, call["dims"]) if call["dims"] else []
    call.unify_all(result.dims, source.dims, but=turned)
    for dim in turned:
        backwards(call, source.dims[dim], result.dims[dim])


def roll(call: Call) -> None:
    """Positions go so far on, and from the end to the beginning: ``a + b`` becomes ``b + a``."""
    source, result, dims = call["self"], call.output, call["dims"]
    if not dims:
        call.pin((*source.dims, *result.dims), "all dimensions are rolled as one")
        return
    rolled = call.dimensions(source, dims)
    call.unify_all(result.dims, source.dims, but=rolled)
    for dim in dict.fromkeys(rolled):
        axis, size = source.dims[dim], source.shape[dim]
        shift = sum(by for by, other in zip(call["shifts"], rolled, strict=True) if other == dim)
        if call.varies("shifts") or rolled.count(dim) > 1:
            call.pin((axis, result.dims[dim]), _BY_SIZE)
        elif call.equations.pinned(axis) or not size:
            call.pin((axis, result.dims[dim]), "it is put into another order")
        else:
            first, last = call.equations.cut(axis, -shift % size)
            call.unify(result.dims[dim], call.equations.sum((last, first)))


def quarter_turns(call: Call) -> None:
    """``rot90``: two dimensions change places, or run backwards, or both."""
    source, result, turns = call["self"], call.output, call["k"] % 4
    first, second = call.dimensions(source, call["dims"])
    call.unify_all(result.without((first, second)), source.without((first, second)))
    # which dimension of the result is which of the source, and whether it runs backwards
    pairs = {
        0: ((first, first, False), (second, second, False)),
        1: ((first, second, True), (second, first, False)),
        2: ((first, first, True), (second, second, True)),
        3: ((first, second, False), (second, first, True)),
    }[turns]
    for to, of, turned in pairs:
        (backwards if turned else Call.unify)(call, source.dims[of], result.dims[to])


RULES: Table = {"aten.flip": flip, "aten.roll": roll, "aten.rot90": quarter_turns}

"""Operators that join tensors or take parts of them: sums of axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from graphprune.axes.algebra import Axis
from graphprune.axes.call import Call, Operand
from graphprune.axes.rules.table import Along, Table, by_argument, each

__all__ = ["RULES"]

_BY_SIZE = "it is cut at a place that depends on the sizes of the inputs"
_BETWEEN = "it is cut between examples of the batch"


def _pass(call: Call, source: Operand, *others: Operand, default: int = 0) -> int:
    """The dimension ``dim`` of ``source``, of which all others pass to ``others``, see `Call.pass_others`."""
    along = call.dimension(source, call.get("dim", default))
    call.pass_others([along], source, *others)
    return along


def cat(call: Call) -> None:
    """The joined dimension is the sum of the tensors' axes."""
    parts = [operand for operand in call.operands(("tensors",)) if operand.shape != (0,)]
    along = _pass(call, call.output, *parts)
    call.unify(call.output.dims[along], call.equations.sum(part.dims[along] for part in parts))


def stack(call: Call) -> None:
    """A new dimension with one position per tensor; its positions stay."""
    along = _pass(call, call.output, *call.operands(("tensors",)))
    call.pin(call.output.dims[along], "tensors are stacked along it, each made by layers of its own")


def raised_cat(along: int, new: Callable[[int], Sequence[int]], call: Call) -> None:
    """``hstack`` and its like: tensors of few dimensions get dimensions of size one, then are joined.

    Args:
        along: the joined dimension of tensors that have enough dimensions.
        new: the dimensions of size one that a tensor of so many dimensions gets, in the places they have then.
    """
    one = call.equations.atom(1)
    parts = []
    for operand in call.operands(("tensors",)):
        dims = list(operand.dims)
        for place in new(len(dims)):
            dims.insert(place, one)
        parts.append(dims)
    along = min(along, len(parts[0]) - 1)
    for dims in parts:
        call.unify_all(call.output.dims, dims, but=[along])
    call.unify(call.output.dims[along], call.equations.sum(dims[along] for dims in parts))


def block_diagonal(call: Call) -> None:
    """Matrices along a diagonal: rows are the sum of their rows, columns that of their columns."""
    one = call.equations.atom(1)
    parts = [(one,) * (2 - len(operand.dims)) + operand.dims for operand in call.operands(("tensors",))]
    for result, axes in zip(call.output.dims, zip(*parts, strict=True), strict=True):
        call.unify(result, call.equations.sum(axes))


def split(call: Call) -> None:
    """``chunk`` and ``split``: the dimension is the sum of the parts."""
    source, *places = call.operands()
    along = _pass(call, source, *call.outputs)
    axis, parts = source.dims[along], [output.dims[along] for output in call.outputs]
    if call.varies("split_size", "split_sizes", "chunks", "sections", "indices"):
        call.pin((axis, *parts), _BY_SIZE)
    elif places:
        call.pin((axis, *parts, *places[0].dims), "split at places that are data")
    else:
        call.unify(axis, call.equations.sum(parts))


def select(call: Call) -> None:
    """One position is taken, or written: it is a segment of size one, the others stay free."""
    source, index = call["self"], call["index"]
    if "src" in call.arguments:
        call.unify_all(source.dims, call.output.dims)
    axis = source.dims[_pass(call, source, call.get("src", call.output))]
    if call.equations.pinned(axis):
        return
    if not isinstance(index, int) or call.varies("index"):
        call.pin(axis, "one position is selected by data")
        return
    place = index % axis.size
    if call.parts_examples(axis, place, place + 1):
        call.pin(axis, _BETWEEN)
        return
    _, rest = call.equations.cut(axis, place)
    call.equations.cut(rest, 1)


def slice_(call: Call) -> None:
    """``x[start:end:step]``: a segment of the dimension, or with a step the outer factor of ``(n step)``.

    ``x.narrow(dim, start, length)`` is one too, and ``slice_scatter`` writes ``src`` there.
    """
    source, part = call["self"], call.get("src", call.output)
    if part is not call.output:
        call.unify_all(source.dims, call.output.dims)
    along = _pass(call, source, part)
    axis, result = source.dims[along], part.dims[along]
    if call.varies("start", "end", "length", "step"):
        call.pin((axis, result), _BY_SIZE)
        return
    if axis.size == result.size:
        call.unify(axis, result)
        return
    start, step = call.get("start") or 0, call.get("step", 1)
    if call.equations.pinned(axis) or not isinstance(start, int):
        call.pin((axis, result), "a part is taken")
    elif step == 1:
        first = slice(start, None).indices(axis.size)[0]
        if call.parts_examples(axis, first, first + result.size):
            call.pin((axis, result), _BETWEEN)
            return
        _, rest = call.equations.cut(axis, first)
        taken, _ = call.equations.cut(rest, result.size)
        call.unify(result, taken)
    else:
        _stride(call, axis, result, step)


def _stride(call: Call, axis: Axis, result: Axis, step: int) -> None:
    if axis.size % step or result.size * step != axis.size:
        call.pin((axis, result), f"every {step}th position is taken")
        return
    phase = call.equations.atom(step)
    call.pin(phase, f"every {step}th position is taken")
    call.unify(axis, call.equations.product((result, phase)))


def glu(call: Call) -> None:
    """The dimension is ``x + x``: values beside gates."""
    source = call["self"]
    along = _pass(call, source, call.output, default=-1)
    half = call.output.dims[along]
    call.unify(source.dims[along], call.equations.sum((half, half)))


RULES: Table = {
    **each("cat concat concatenate", cat),
    "aten.stack": stack,
    "aten.hstack": partial(raised_cat, 1, lambda rank: [0] * (rank == 0)),
    "aten.vstack": partial(raised_cat, 0, lambda rank: [0] * max(2 - rank, 0)),
    "aten.dstack": partial(raised_cat, 2, lambda rank: [[0, 1, 2], [0, 2], [2]][rank] if rank < 3 else []),
    "aten.column_stack": partial(raised_cat, 1, lambda rank: [0, 1][rank:] if rank < 2 else []),
    "aten.block_diag": block_diagonal,
    **each("chunk split split_with_sizes tensor_split unsafe_chunk", split),
    "aten.unbind": Along(by_argument("dim", default=0), "each position is taken apart"),
    **each("select select_scatter", select),
    **each("slice narrow slice_scatter", slice_),
    "aten.glu": glu,
}

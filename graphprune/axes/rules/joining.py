"""Operators that join tensors or take parts of them: sums of axes."""

from __future__ import annotations

from graphprune.axes.algebra import Axis
from graphprune.axes.call import Call
from graphprune.axes.rules.table import Along, Table, by_argument, each

__all__ = ["RULES"]


def cat(call: Call) -> None:
    """The joined dimension is the sum of the tensors' axes."""
    parts = [operand for operand in call.operands(("tensors",)) if operand.shape != (0,)]
    along = call.dimension(call.output, call.get("dim", 0))
    for part in parts:
        call.unify_all(call.output.dims, part.dims, [along])
    call.unify(call.output.dims[along], call.equations.sum(part.dims[along] for part in parts))


def stack(call: Call) -> None:
    """A new dimension with one position per tensor; its positions stay."""
    along = call.dimension(call.output, call.get("dim", 0))
    call.pin(call.output.dims[along], "tensors are stacked along it")
    for part in call.operands(("tensors",)):
        call.unify_all(call.output.without([along]), part.dims)


def split(call: Call) -> None:
    """``chunk`` and ``split``: the dimension is the sum of the parts."""
    source, *places = call.operands()
    along = call.dimension(source, call.get("dim", 0))
    for output in call.outputs:
        call.unify_all(output.dims, source.dims, [along])
    if places:
        parts = (output.dims[along] for output in call.outputs)
        call.pin((source.dims[along], *parts, *places[0].dims), "split at places that are data")
        return
    call.unify(source.dims[along], call.equations.sum(output.dims[along] for output in call.outputs))


def select(call: Call) -> None:
    """One position is taken: it is a segment of size one, the others stay free."""
    source, index = call["self"], call["index"]
    along = call.dimension(source, call["dim"])
    call.unify_all(call.output.dims, source.without([along]))
    axis = source.dims[along]
    if call.equations.pinned(axis):
        return
    if not isinstance(index, int):
        call.pin(axis, "one position is selected by data")
        return
    _, rest = call.equations.cut(axis, index % axis.size)
    call.equations.cut(rest, 1)


def slice_(call: Call) -> None:
    """``x[start:end:step]``: a segment of the dimension, or with a step the outer factor of ``(n step)``."""
    source = call["self"]
    along = call.dimension(source, call.get("dim", 0))
    call.unify_all(call.output.dims, source.dims, [along])
    axis, result = source.dims[along], call.output.dims[along]
    if axis.size == result.size:
        call.unify(axis, result)
        return
    start, step = call.get("start") or 0, call.get("step", 1)
    if call.equations.pinned(axis) or not isinstance(start, int):
        call.pin((axis, result), "a part is taken")
        return
    start = min(max(start + axis.size, 0) if start < 0 else start, axis.size)
    if step == 1:
        _, rest = call.equations.cut(axis, start)
        part, _ = call.equations.cut(rest, result.size)
        call.unify(result, part)
    else:
        _stride(call, axis, result, step)


def _stride(call: Call, axis: Axis, result: Axis, step: int) -> None:
    if axis.size % step or result.size * step != axis.size:
        call.pin((axis, result), f"every {step}th position is taken")
        return
    phase = call.equations.atom(step)
    call.pin(phase, f"every {step}th position is taken")
    call.unify(axis, call.equations.product((result, phase)))


def narrow(call: Call) -> None:
    """``x.narrow(dim, start, length)``, a slice."""
    call.arguments.setdefault("step", 1)
    slice_(call)


def glu(call: Call) -> None:
    """The dimension is ``x + x``: values beside gates."""
    source = call["self"]
    along = call.dimension(source, call.get("dim", -1))
    call.unify_all(call.output.dims, source.dims, [along])
    half = call.output.dims[along]
    call.unify(source.dims[along], call.equations.sum((half, half)))


RULES: Table = {
    **each("cat concat concatenate", cat),
    "aten.stack": stack,
    **each("chunk split split_with_sizes tensor_split unsafe_chunk", split),
    "aten.unbind": Along(by_argument("dim", default=0), "each position is taken apart"),
    "aten.select": select,
    "aten.slice": slice_,
    "aten.narrow": narrow,
    "aten.glu": glu,
}

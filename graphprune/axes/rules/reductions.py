"""Operators that reduce dimensions or mix along them: sums, statistics, norms, softmax.

A sum is a contraction: removing a coordinate equals setting it to zero. A mean, a maximum, a variance or a
softmax is a *statistic*: removing coordinates restricts it to the kept ones, by definition.
"""

from __future__ import annotations

from graphprune.axes.call import Call, Operand
from graphprune.axes.rules.table import Table

__all__ = ["RULES"]


def reduction(call: Call) -> None:
    """Reduces ``dim`` (all dimensions if absent), keeping them as size 1 with ``keepdim``."""
    source = call["self"]
    reduced = set(call.dimensions(source, call.get("dim")))
    kept = [axis for index, axis in enumerate(source.dims) if index not in reduced]
    for output in call.outputs:
        result = output.dims
        if len(result) == len(source.dims):
            result = tuple(axis for index, axis in enumerate(result) if index not in reduced)
        for axis, other in zip(result, kept, strict=True):
            call.unify(axis, other)


def position_reduction(call: Call) -> None:
    """Also returns positions along the reduced dimension, which would change their meaning."""
    reduction(call)
    source = call["self"]
    call.pin((source.dims[i] for i in call.dimensions(source, call.get("dim"))), "positions are returned")


def _same(call: Call, source: Operand) -> None:
    for output in call.outputs[:1]:
        for axis, other in zip(output.dims, source.dims, strict=True):
            call.unify(axis, other)


def softmax(call: Call) -> None:
    """Normalises over ``dim``, position by position of the others."""
    source = call["self"]
    _same(call, source)
    call.lined_up(source, [call.dimension(source, call["dim"])])


def batch_norm(call: Call) -> None:
    """Everything per channel, dimension 1; with statistics of its own, of the batch, over the others."""
    source = call["input"]
    _same(call, source)
    if call.get("training"):
        call.lined_up(source, [index for index in range(len(source.dims)) if index != 1])
    for operand in call.operands(("weight", "bias", "running_mean", "running_var")):
        call.unify(source.dims[1], operand.dims[0])


def layer_norm(call: Call) -> None:
    """Statistics over the trailing ``normalized_shape`` dimensions; also for RMS norms."""
    source = call["input"]
    width = len(call["normalized_shape"])
    _same(call, source)
    for operand in call.operands(("weight", "bias")):
        for axis, other in zip(source.dims[-width:], operand.dims, strict=True):
            call.unify(axis, other)
    call.lined_up(source, range(len(source.dims) - width, len(source.dims)))


def group_norm(call: Call) -> None:
    """Channels are ``(g c)``; statistics over ``c`` and the spatial dimensions."""
    source, groups = call["input"], int(call["num_groups"])
    _same(call, source)
    for operand in call.operands(("weight", "bias")):
        call.unify(source.dims[1], operand.dims[0])
    g, c = call.equations.atom(groups), call.equations.atom(source.shape[1] // groups)
    call.unify(source.dims[1], call.equations.product((g, c)))


def ordered(call: Call) -> None:
    """Works along some dimensions in their order, or reorders them: no position stands for itself."""
    source = next(call.operands())
    name = call.operation.family.removeprefix("aten.")
    along = set(call.dimensions(source, call.get("dim", call.get("dims", -1))))
    for other in (*call.operands(), *call.outputs):
        for index, (axis, result) in enumerate(zip(source.dims, other.dims, strict=True)):
            if index in along:
                call.pin((axis, result), f"{name} orders this dimension")
            else:
                call.unify(axis, result)


RULES: Table = {
    **dict.fromkeys(
        [
            f"aten.{name}"
            for name in "sum mean amax amin var std logsumexp linalg_vector_norm norm any nansum std_mean "
            "var_mean all prod count_nonzero max min frobenius_norm".split()
        ],
        reduction,
    ),
    **dict.fromkeys(
        ["aten.max.dim", "aten.min.dim", "aten.argmax", "aten.argmin", "aten.median.dim"], position_reduction
    ),
    **dict.fromkeys(["aten.softmax", "aten.log_softmax", "aten._softmax", "aten._log_softmax"], softmax),
    **dict.fromkeys(["aten.batch_norm", "aten.instance_norm"], batch_norm),
    **dict.fromkeys(["aten.layer_norm", "aten.rms_norm"], layer_norm),
    "aten.group_norm": group_norm,
    **dict.fromkeys(
        [
            f"aten.{name}"
            for name in "cumsum cumprod cummax cummin sort argsort topk roll flip logcumsumexp diff fft_fftshift "
            "fft_ifftshift".split()
        ],
        ordered,
    ),
}

"""Operators that reduce dimensions or mix along them: sums, statistics, norms, softmax.

A sum is a *contraction*: removing a coordinate equals setting it to zero. A mean, a maximum, a variance or a
softmax is a *statistic*: after removing coordinates it is that of the kept ones, by definition.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from graphprune.axes.call import Call, Operand
from graphprune.axes.rules.table import Table, each
from graphprune.capture.roles import ROLES

__all__ = ["RULES"]


def reduction(call: Call) -> None:
    """Reduces ``dim`` (all dimensions if absent), keeping them as size 1 with ``keepdim``."""
    source = call["self"]
    reduced = set(call.dimensions(source, call.get("dim")))
    for output in call.outputs:
        result = output.without(reduced) if len(output.dims) == len(source.dims) else output.dims
        call.unify_all(result, source.without(reduced))


def position_reduction(call: Call) -> None:
    """Also returns positions along the reduced dimension, which would change their meaning."""
    reduction(call)
    source = call["self"]
    call.pin((source.dims[i] for i in call.dimensions(source, call.get("dim"))), "positions are returned")


def softmax(call: Call) -> None:
    """Normalises over ``dim``, position by position of the others."""
    source = call["self"]
    call.unify_all(call.output.dims, source.dims)
    call.lined_up(source, [call.dimension(source, call["dim"])])


def _norm(call: Call, own: Sequence[int], mixed: Collection[int]) -> Operand:
    """The input passes through; the norm's own tensors have its dimensions ``own``, and it mixes along ``mixed``."""
    source: Operand = call["input"]
    call.unify_all(call.output.dims, source.dims)
    for operand in call.operands(ROLES[call.operation.family].stored):
        call.unify_all([source.dims[dim] for dim in own], operand.dims)
    call.lined_up(source, mixed)
    return source


def batch_norm(call: Call) -> None:
    """Everything per channel, dimension 1; with statistics of its own, of the batch, over the others."""
    _norm(call, [1], {*range(len(call["input"].dims))} - {1} if call.get("training") else ())


def layer_norm(call: Call) -> None:
    """Statistics over the trailing ``normalized_shape`` dimensions; also for RMS norms."""
    rank = len(call["input"].dims)
    trailing = range(rank - len(call["normalized_shape"]), rank)
    _norm(call, trailing, trailing)


def group_norm(call: Call) -> None:
    """Channels are ``(g c)``; statistics over ``c`` and the spatial dimensions."""
    source, groups = _norm(call, [1], ()), int(call["num_groups"])
    g, c = call.equations.atom(groups), call.equations.atom(source.shape[1] // groups)
    call.unify(source.dims[1], call.equations.product((g, c)))


def ordered(call: Call) -> None:
    """Works along some dimensions in their order, or reorders them: no position stands for itself."""
    source = next(call.operands())
    name = call.operation.family.removeprefix("aten.")
    along = set(call.dimensions(source, call.get("dim", call.get("dims", -1))))
    for other in (*call.operands(), *call.outputs):
        call.unify_all(source.dims, other.dims, but=along)
        call.pin(
            (operand.dims[index] for index in along for operand in (source, other)),
            f"{name} orders this dimension",
        )


RULES: Table = {
    **each(
        "sum mean amax amin var std logsumexp linalg_vector_norm norm any nansum std_mean "
        "var_mean all prod count_nonzero max min frobenius_norm",
        reduction,
    ),
    **each("max.dim min.dim argmax argmin median.dim", position_reduction),
    **each("softmax log_softmax _softmax _log_softmax", softmax),
    **each("batch_norm instance_norm", batch_norm),
    **each("layer_norm rms_norm", layer_norm),
    "aten.group_norm": group_norm,
    **each(
        "cumsum cumprod cummax cummin sort argsort topk roll flip logcumsumexp diff fft_fftshift fft_ifftshift",
        ordered,
    ),
}

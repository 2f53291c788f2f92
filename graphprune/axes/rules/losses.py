"""Losses and distances: computed place by place, then summed or averaged over some dimensions, or over all."""

from __future__ import annotations

from collections.abc import Iterable

from graphprune.axes.algebra import Axis
from graphprune.axes.call import Call, Operand
from graphprune.axes.rules.pointwise import broadcast
from graphprune.axes.rules.table import Table, each, stays

__all__ = ["RULES", "together"]


def together(call: Call, operands: Iterable[Operand]) -> list[Axis]:
    """The axes of tensors that are broadcast with one another, as those of a result would be."""
    found: list[Axis] = []
    for operand in operands:
        for place, axis in enumerate(operand.dims[::-1]):
            if place == len(found):
                found.append(axis)
            elif found[place].size == 1:
                found[place] = axis
            elif axis.size != 1:
                call.unify(found[place], axis)
    return found[::-1]


def loss(call: Call) -> None:
    """Place by place; then the sum or the mean over all places, or none of the two."""
    if call.output.dims:
        broadcast(call)
    else:
        together(call, call.operands())


def distance(call: Call) -> None:
    """Vectors along the last dimension, one distance for each of the other positions; those are perhaps reduced."""
    vectors = [operand for operand in call.operands() if operand is not call.get("target")]
    target = together(call, vectors)
    labels = call.get("target")
    if isinstance(labels, Operand):
        call.broadcast([labels], target[:-1])
    if call.output.dims:
        kept = len(call.output.dims) - bool(call.get("keepdim"))
        call.unify_all(call.output.dims[:kept], target[:-1])


def product(call: Call) -> None:
    """The sum of products along ``dim``, or the cosine of two vectors: one number for each other position."""
    first, second, *_ = call.operands()
    target = together(call, (first, second))
    along = call["dim"] % len(target) if target else 0
    call.unify_all(call.output.dims, [axis for place, axis in enumerate(target) if place != along])
    call.loops.append(tuple(target))


def classes(call: Call) -> None:
    """One score for each class in dimension 1 (0 if there is no batch); other positions are perhaps reduced."""
    scores, target = call["self"], call["target"]
    along = min(len(scores.dims) - 1, 1)
    call.pin(scores.dims[along], "the targets name classes by their positions")
    same = len(target.dims) == len(scores.dims)
    call.unify_all(target.dims, scores.dims if same else scores.without([along]))
    weight = call.get("weight")
    if isinstance(weight, Operand):
        call.unify(weight.dims[0], scores.dims[along])
    if call.output.dims:
        call.unify_all(call.output.dims, scores.without([along]))


RULES: Table = {
    **each(
        "mse_loss l1_loss smooth_l1_loss huber_loss kl_div binary_cross_entropy soft_margin_loss "
        "binary_cross_entropy_with_logits poisson_nll_loss margin_ranking_loss hinge_embedding_loss",
        loss,
    ),
    **each("pairwise_distance triplet_margin_loss cosine_embedding_loss", distance),
    **each("cosine_similarity linalg_vecdot", product),
    **each(
        "cross_entropy_loss nll_loss nll_loss2d nll_loss_nd multi_margin_loss multilabel_margin_loss",
        classes,
    ),
    "aten.dist": loss,
    "aten.ctc_loss": stays("targets of several lengths lie one behind the other"),
}

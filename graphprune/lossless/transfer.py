"""Which elements of an operator's results are the same for every input of the model: a row per operator, see `facts`.

Of an operator without a row they are known only if all of its arguments are.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from graphprune.axes.rules import joining, orders, pointwise, views
from graphprune.lossless.facts import PRODUCTS, Fact, KnownCall, Transfer, count, everywhere, factors

__all__ = ["CREATORS", "POINTWISE", "REARRANGED", "WINDOWS", "transfer"]

CREATORS = frozenset(f"aten.{name}_like" for name in "zeros ones full".split()) | {
    f"aten.new_{name}" for name in "zeros ones full".split()
}
POINTWISE = (
    frozenset(pointwise.RULES)
    - CREATORS
    - {f"aten.{name}" for name in "empty_like bernoulli fill fake_quantize_per_channel_affine".split()}
)
REARRANGED = (
    frozenset(views.RULES)
    | (frozenset(joining.RULES) - {"aten.glu"})
    | {f"aten.{name}" for name in "pixel_shuffle pixel_unshuffle channel_shuffle im2col".split()}
    | {f"aten.upsample_nearest{rank}d" for rank in (1, 2, 3)}
    | frozenset(orders.RULES)
    | {f"aten.{name}" for name in "pad constant_pad_nd index index_select gather".split()}
)
WINDOWS = frozenset(
    f"aten.{name}pool{rank}d" for name in "max_ avg_ adaptive_avg_".split() for rank in (1, 2, 3)
)
_REDUCTIONS = frozenset(f"aten.{name}" for name in "sum mean amax amin var std softmax log_softmax".split())


def transfer(step: KnownCall, result: Any) -> Any:
    """The masks of the results of one operator call."""
    row = _ROWS.get(step.family)
    if all(bool(fact.known.all()) for fact in step.facts):
        return everywhere(result, True)
    return row(step, result) if row else everywhere(result, False)


def _everything(step: KnownCall) -> Tensor:
    """Known where everything at that place is."""
    return reduce(torch.logical_and, (fact.known for fact in step.facts))


def _pointwise(step: KnownCall, result: Any) -> Any:
    """The same for each of the results."""
    known = _everything(step)
    return pytree.tree_map(lambda _: known, result)


def _product(step: KnownCall, result: Tensor) -> Tensor:
    """Known too where one factor is zero."""
    known = _everything(step)
    for fact in step.facts:
        known = known | ~fact.nonzero
    return known


def _rearranged(step: KnownCall, result: Any) -> Any:
    """Elements take their masks along; places that are filled up are known."""
    moving = [step[name] for name in ("self", "input", "tensors") if name in step.given]
    moved = {id(fact) for fact in pytree.tree_leaves(moving) if isinstance(fact, Fact)}
    if not all(bool(fact.known.all()) for fact in step.facts if id(fact) not in moved):
        return everywhere(result, False)  # rearranged by data
    changes = {"value": 0.0} if "value" in step.given else {}
    unknown = step.run(lambda fact: (~fact.known).float() if id(fact) in moved else fact.value, changes)
    return pytree.tree_map(lambda mask: mask == 0, unknown)


def _reduced(step: KnownCall, result: Tensor) -> Tensor:
    """Known where everything that is reduced, or compared, is."""
    known, dims = next(step.facts).known, step.given.get("dim")
    if dims is None or dims == []:
        return known.all()
    dims = (dims,) if isinstance(dims, int) else tuple(dims)
    return known.all(dims, keepdim=result.dim() == known.dim())


def _contracted(step: KnownCall, result: Tensor) -> Tensor:
    """Unknown where a term is: one factor unknown, the other not zero. Padding is zero, and known to be."""
    pair = factors(step)
    if pair is None:
        return everywhere(result, False)
    one, two = pair
    terms = count(step, (~one.known).float(), two.nonzero.float())
    if not bool(two.known.all()):
        terms = terms + count(step, one.constant.float(), (~two.known).float())
    known = terms < 0.5
    for fact in step.facts:
        if fact is not one and fact is not two:  # a bias
            spatial = two.value.dim() - 2 if step.family.startswith("aten.conv") else 0
            known = known & fact.known.reshape(*fact.known.shape, *[1] * spatial)
    return known


def _batch_norm(step: KnownCall, result: Tensor) -> Tensor:
    """Known where the input is, or where the scale is zero."""
    source, weight = step["input"], step.given.get("weight")
    if step["training"] or not isinstance(weight, Fact):
        return everywhere(result, False) if step["training"] else source.known
    channels = (~weight.nonzero).reshape(-1, *[1] * (source.known.dim() - 2))
    return source.known | channels


def _layer_norm(step: KnownCall, result: Tensor) -> Tensor:
    """Known where all that is averaged is, or where the scale is zero."""
    weight, dims = step.given.get("weight"), tuple(range(-len(step["normalized_shape"]), 0))
    known = step["input"].known.all(dims, keepdim=True)
    return known | ~weight.nonzero if isinstance(weight, Fact) else known


def _embedding(step: KnownCall, result: Tensor) -> Tensor:
    """Known where all rows of the table agree."""
    table = step["weight"]
    return (table.value == table.value[0]).all(0) & table.known.all(0)


def _attention(step: KnownCall, result: Tensor) -> Tensor:
    """Zero where the values at all positions are."""
    zero = (~step["value"].nonzero).all(-2, keepdim=True)
    heads = result.shape[-3] // zero.shape[-3] if zero.dim() > 2 else 1
    return zero.repeat_interleave(heads, -3) if heads > 1 else zero


_ROWS: dict[str, Transfer] = {
    **dict.fromkeys(POINTWISE, _pointwise),
    **dict.fromkeys(["aten.mul", "aten.multiply"], _product),
    "aten.prelu": lambda step, result: next(step.facts).known,
    **dict.fromkeys(CREATORS, lambda step, result: everywhere(result, True)),
    **dict.fromkeys(REARRANGED, _rearranged),
    **dict.fromkeys(WINDOWS, _rearranged),
    **dict.fromkeys(_REDUCTIONS, _reduced),
    **dict.fromkeys(PRODUCTS, _contracted),
    "aten.batch_norm": _batch_norm,
    **dict.fromkeys(["aten.layer_norm", "aten.rms_norm"], _layer_norm),
    "aten.embedding": _embedding,
    "aten.scaled_dot_product_attention": _attention,
}

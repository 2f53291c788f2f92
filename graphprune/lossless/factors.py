"""Operators that sum products of two tensors: which tensors these are, and how many terms of a sum are not zero."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from graphprune.capture.roles import ROLES
from graphprune.lossless.facts import Fact, KnownCall

__all__ = ["BIASED", "PRODUCTS", "count", "factors", "reads"]

_LAYERS = ("convolution", "transposed", "linear")
# those with a bias of their own, one for each output channel
BIASED = frozenset(op for op, roles in ROLES.items() if roles.kind in _LAYERS)
_FACTORS = {
    **{
        op: (ROLES[op].source, ROLES[op].weight)
        for op in (*BIASED, "aten.matmul", "aten.mm", "aten.bmm", "aten.addmm")
    },
    "aten.mv": ("self", "vec"),
}
PRODUCTS = (*_FACTORS, "aten.einsum")


def factors(step: KnownCall) -> tuple[Fact, Fact] | None:
    """The two tensors that are multiplied; None where the operator is no such product."""
    if step.family == "aten.einsum":
        tensors = [item for item in step["tensors"] if isinstance(item, Fact)]
        return (tensors[0], tensors[1]) if len(tensors) == 2 else None
    names = _FACTORS.get(step.family)
    return (step[names[0]], step[names[1]]) if names else None


def count(step: KnownCall, first: Tensor, second: Tensor) -> Tensor:
    """The operator on other factors, with nothing added. Of ones and zeros it counts the terms that are not zero."""
    if step.family == "aten.einsum":
        return step.run(lambda fact: fact.value, {"tensors": [first, second]})
    one, two = _FACTORS[step.family]
    changes: dict[str, object] = {one: first, two: second}
    if step.family in BIASED:
        changes["bias"] = None
    elif step.family == "aten.addmm":
        changes["self"] = torch.zeros((), dtype=first.dtype)
    return step.run(lambda fact: fact.value, changes)


def reads(step: KnownCall, first: Sequence[Tensor], second: Sequence[Tensor], wanted: Tensor) -> Tensor:
    """Which elements of the first factor stand in a term of a ``wanted`` result.

    ``first`` and ``second`` are masks in pairs: a term counts if its factors lie in both masks of one pair.
    The terms of sums of products are positive, so that the derivative of their number says where they are.
    """
    found = torch.zeros(first[0].shape, dtype=torch.bool)
    for mask, other in zip(first, second, strict=True):
        if not (mask.any() and other.any()):
            continue
        with torch.enable_grad():
            ones = torch.ones(mask.shape, requires_grad=True)
            terms = count(step, ones, other.float())
            (slope,) = torch.autograd.grad(terms, ones, wanted.float().expand(terms.shape))
        found |= mask & (slope > 0.5)
    return found

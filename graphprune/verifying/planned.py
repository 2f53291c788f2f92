"""Checks that a slim program has what its plan says: tensors, tied widths, parameters, multiply-accumulates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from fractions import Fraction

import torch
from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.groups import Group
from graphprune.capture.program import Program, Stored
from graphprune.ground.errors import WeightsError
from graphprune.planning.masks import Masks
from graphprune.planning.plan import Plan
from graphprune.verifying.claim import restricted
from graphprune.verifying.tensors import converted
from graphprune.verifying.verdict import Check

__all__ = [
    "macs_as_predicted",
    "parameters_as_predicted",
    "same_stored",
    "same_tensor",
    "tensors_as_planned",
    "ties_kept",
    "well_formed",
]


def tensors_as_planned(graph: DependencyGraph, plan: Plan, slim: Program) -> Check:
    """Every stored tensor is exactly the planned part of the original, and as trainable, tied and persistent."""
    planned = restricted(converted(graph.program.tensors, None), plan.kept)

    def right(name: str, item: Stored) -> bool:
        try:
            return same_stored(item, slim.stored[name]) and same_tensor(planned[name], slim.tensors[name])
        except (KeyError, WeightsError):  # there is none, or one of another shape in a file
            return False

    wrong = [name for name, item in graph.program.stored.items() if not right(name, item)]
    return Check.without("tensors as planned", wrong)


def ties_kept(graph: DependencyGraph, plan: Plan) -> Iterator[Check]:
    """Groups that the request ties keep the same share; that tensors follow from groups is another check."""
    ties = [tie for tie in plan.request.get("ties", ()) if tie]
    shares = [
        {
            Fraction(plan.sizes.get(group.name, group.size), group.size)
            for group in graph.groups
            if _is_named(group, tie)
        }
        for tie in ties
    ]
    wrong = [",".join(tie) for tie, found in zip(ties, shares, strict=True) if len(found) != 1]
    if ties:
        yield Check.without("tied groups keep the same share", wrong)


def _is_named(group: Group, patterns: Sequence[str]) -> bool:
    """Whether a pattern names the group, or else a layer that produces it."""
    layers = [name for m in group.members if m.role == "produces" for name in (m.layer, m.tensor)]
    return any(
        fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")
        for pattern in patterns
        for name in ([group.name] if ":" in pattern else layers)
    )


def same_stored(before: Stored, after: Stored) -> bool:
    """Whether ``after`` is as trainable, tied and persistent as ``before``."""
    one, other = (
        (item.kind, item.persistent, item.ties, item.tensor.requires_grad) for item in (before, after)
    )
    return one == other


def same_tensor(planned: Tensor, given: Tensor, values: bool = True) -> bool:
    """Whether two tensors have the same shape and dtype, are on the same device, and are equal if ``values`` count."""
    one, other = ((item.shape, item.dtype, item.device) for item in (planned, given))
    return one == other and (not values or torch.equal(planned, given))


def well_formed(slim: Program) -> Check:
    wrong = []
    try:
        slim.graph.lint()
    except RuntimeError as error:
        wrong = [str(error)]
    return Check.without("graph is well formed", wrong)


def parameters_as_predicted(graph: DependencyGraph, masks: Masks, slim: Program) -> Check:
    expected = graph.params.value(masks.sizes)
    difference = abs(slim.parameter_count - expected)
    return Check("parameters as predicted", not difference, difference, 0, f"{expected} predicted")


# counted by the polynomial, not by torch's counter; an einsum is, where it comes to a matrix product
_UNCOUNTED_ATEN = (
    "bilinear mv dot vdot outer cdist addbmm addmv addr conv_tbc linalg_vecdot cosine_similarity"
)
_UNCOUNTED = (
    *(f"aten.{name}." for name in _UNCOUNTED_ATEN.split()),
    "transformers.grouped_mm_fallback.",
)
_SOMETIMES_COUNTED = ("aten.einsum.", "aten.inner.", "aten.tensordot.", "aten.linalg_multi_dot.")


def macs_as_predicted(graph: DependencyGraph, masks: Masks, counted: int, batches: dict[int, int]) -> Check:
    """torch's own counter, on the slim layers, agrees with the polynomial."""
    ops = {operation.name: operation.op for operation in graph.program.operations}
    users = tuple({op for op in ops.values() if not op.startswith("aten.")})  # torch may know what they cost
    polynomial = graph.macs_of(batches)

    def without(uncounted: tuple[str, ...]) -> int:
        counts = tuple(m for m in polynomial.monomials if not ops[m.name].startswith(uncounted))
        return int(replace(polynomial, monomials=counts).value(masks.sizes))

    expected, surely = without(_UNCOUNTED), without((*_UNCOUNTED, *_SOMETIMES_COUNTED, *users))
    # operators without a rule are pinned whole and not in the prediction, nor need those of users be
    above = 0 if graph.analysis.unruled or users else max(counted - expected, 0)
    difference = above + max(surely - counted, 0)
    return Check("multiply-accumulates as predicted", not difference, difference, 0, f"{expected} predicted")

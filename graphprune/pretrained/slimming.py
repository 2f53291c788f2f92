"""From a request to a plan whose widths the configuration can say, and to that configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import lcm

from graphprune.asking.request import Request
from graphprune.ground.clock import Clock
from graphprune.ground.errors import InputError, PlanError
from graphprune.planning import Limit, Plan
from graphprune.pretrained.blueprint import Blueprint, Refused
from graphprune.pretrained.families import shapes_at
from graphprune.pretrained.move import Move
from graphprune.pretrained.opened import Model
from graphprune.searching.prepared import Prepared, prepare
from graphprune.searching.rounds import planned

__all__ = ["Slimming", "as_asked", "slimming"]

Limits = Mapping[str, Limit]
NEAR = 64  # of all widths that a class may accept, so many are tried on each side of the planned one
WIDEST = 64  # a kernel likes widths that are multiples of so many


@dataclass(frozen=True)
class Slimming:
    """A plan and the class that has its widths; the first group that the importance could not judge, if any."""

    plan: Plan
    prepared: Prepared
    blueprint: Blueprint
    unjudged: str = ""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Units that each group keeps."""
        return self.plan.sizes


def as_asked(model: Model, request: Request) -> Request:
    """The request with the ties that the configuration asks for; groups that it cannot say are protected.

    Raises:
        InputError: the configuration says no width at all.
    """
    if not model.moves:
        why = next(iter(model.held.values()), "it has no groups")
        raise InputError(
            f"no field of the configuration of {model.shaping.blueprint.model.__name__} can say a smaller width: {why}",
            "shrink it as a graph: graphprune.shrink(model, inputs, …)",
        )
    own = (request.protect,) if isinstance(request.protect, str) else tuple(request.protect)
    ties = tuple(move.names for move in model.moves if len(move.names) > 1)
    # multiples of a move come with its limits
    return replace(request, protect=(*own, *model.held), ties=(*request.ties, *ties), align=1)


def slimming(model: Model, request: Request, clock: Clock, otherwise: Request | None = None) -> Slimming:
    """The plan that meets the budgets, and the class with its widths.

    Where the class checks one width against another, such as hidden sizes that are multiples of the number of heads,
    the widths that it refuses are brought to the nearest that it takes, and the others make up for the difference.

    Args:
        otherwise: what is asked instead where the importance cannot judge a group that could go.

    Raises:
        BudgetError: a budget cannot be reached with widths that the configuration can say.
        PlanError: the class takes no width near the planned one.
    """
    align = request.align
    prepared = prepare(model.wide, as_asked(model, request), clock)
    unjudged = next(
        (name for move in model.moves for name in move.names if prepared.scores[name] is None), ""
    )
    if unjudged and otherwise is not None:
        prepared = prepare(model.wide, as_asked(model, otherwise), clock)
    prepared = replace(prepared, limits=_limits(model, prepared.limits, align))
    with clock("plan"):
        plan = planned(prepared)
        problem = _problem(model, plan.sizes)
        if problem:
            fixed = _accepted(model, prepared.limits, plan.sizes, problem)
            prepared = replace(prepared, limits=fixed)
            plan = planned(prepared)
            problem = _problem(model, plan.sizes)
    if problem:
        raise PlanError(f"the class takes no such widths: {problem}", "protect some of the layers")
    return Slimming(plan, prepared, model.shaping.fields(list(model.moves), plan.sizes), unjudged)


def _limits(model: Model, limits: Limits, align: int | str) -> dict[str, Limit]:
    """With the multiples of each move, and of what the user, or a kernel, likes."""
    found = dict(limits)
    for move in model.moves:
        step = lcm(move.step, align if isinstance(align, int) else _liked(move))
        if not isinstance(align, int) and move.size % step:
            step = move.step
        for family in move.families:
            for name in family.names:
                found[name] = _stepped(limits[name], step * family.size // move.size)
    return found


def _liked(move: Move) -> int:
    """A power of two that is a small part of the width."""
    most = WIDEST
    while most > 1 and (most * WIDEST > move.size or move.size % most):
        most //= 2
    return most


def _stepped(limit: Limit, step: int) -> Limit:
    together = lcm(limit.step, step)
    least = -(-limit.least // together) * together
    if limit.least == limit.size:
        return limit
    return limit.whole() if least >= limit.size else replace(limit, step=together, least=least, floor=None)


def _problem(model: Model, sizes: Mapping[str, int]) -> str:
    """Why the class has no such widths; empty if it has."""
    try:
        shapes = model.shaping.fields(list(model.moves), sizes).shapes()
    except Refused as error:
        return str(error)
    planned_shapes = {**model.shaping.shapes, **shapes_at(model.graph, sizes)}
    wrong = next((name for name, shape in shapes.items() if planned_shapes.get(name) != shape), "")
    return f"{wrong} would be {shapes[wrong]} in place of {planned_shapes.get(wrong)}" if wrong else ""


def _accepted(model: Model, limits: Limits, sizes: Mapping[str, int], problem: str) -> dict[str, Limit]:
    """Limits with one width for each move that is checked against others, near the planned one.

    Raises:
        PlanError: none is accepted.
    """
    fixed = dict(limits)
    checked = [move for move in model.moves if move.step > 1]
    for move in checked:
        kept = next(_near(model, limits[move.names[0]], move, sizes), None)
        if kept is not None:
            break
    else:
        raise PlanError(f"the class takes no such widths: {problem}", "protect some of the layers")
    settled = {**sizes, **move.sizes(kept)}
    heads = [other for other in model.moves if other.size <= WIDEST]  # against which widths are checked
    for other in (move, *heads):
        for name in other.names:
            fixed[name] = replace(limits[name], least=settled[name], fixed=settled[name])
    return fixed


def _near(model: Model, limit: Limit, move: Move, sizes: Mapping[str, int]) -> Iterator[int]:
    """Widths of a move that the class takes, those nearest to the planned one first."""
    planned_size = sizes[move.names[0]]
    every = sorted(range(limit.least, move.size + 1), key=lambda kept: (abs(kept - planned_size), kept))
    for kept in every[: 2 * NEAR]:
        whole = all(kept * family.size % move.size == 0 for family in move.families)
        if whole and not _problem(model, {**sizes, **move.sizes(kept)}):
            yield kept

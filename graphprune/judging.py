"""``importance="auto"``: several ways to choose units are tried on the calibration data, and the best one is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.clock import Clock
from graphprune.errors import BudgetError
from graphprune.planning import make_plan
from graphprune.probing import harm_of
from graphprune.profiling import Profile
from graphprune.proposal import prepare
from graphprune.repairing import Repairing
from graphprune.request import Request

__all__ = ["settled"]


def settled(
    graph: DependencyGraph, request: Request, mend: Repairing | None, measured: Profile | None, clock: Clock
) -> tuple[Request, Profile | None]:
    """The request with the one of its choices that leaves the outputs nearest, and what was measured for that.

    Each choice is planned in one round and, where there is a repair, repaired; a latency is only predicted.

    Raises:
        BudgetError: no choice meets the budgets.
        InputError: a criterion cannot be computed on these data.
    """
    if not request.choices:
        return request, measured
    harm = _harm(graph, request, mend)
    found: dict[str, float] = {}
    made: dict[str, Request] = {}
    refused: list[BudgetError] = []
    for criterion, ranking in request.choices:
        choice = replace(request, criterion=criterion, ranking=ranking, choices=())
        alone = replace(choice, rounds=1, between=None, trials=0)
        prepared = prepare(graph, alone, clock, measured)
        measured = prepared.profile
        name = f"{criterion}, {ranking}"
        try:
            with clock(f"try {name}"):
                found[name], made[name] = harm(prepared.plan().groups), choice
        except BudgetError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    best = min(found, key=lambda name: found[name])
    return replace(made[best], tried=found), measured


def _harm(
    graph: DependencyGraph, request: Request, mend: Repairing | None
) -> Callable[[Mapping[str, Tensor]], float]:
    """Kept units → how far the outputs are from the original's, squared and relative; after the repair, if any."""
    if mend is None:
        distance = harm_of(graph, request.calibration)
        return lambda kept: distance(kept) ** 2
    return lambda kept: mend.distance(graph, make_plan(graph, kept))

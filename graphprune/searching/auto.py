"""``importance="auto"``: several ways to choose units are tried on calibration data, and the best one is taken.

Each is tried on half of the batches and judged on the others. What a choice, and a repair even more, makes of the data
that it has seen says little: units that only other inputs need are the first that it removes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from graphprune.asking.request import Request
from graphprune.axes.dependency import DependencyGraph
from graphprune.calibration import Calibration, Distance
from graphprune.cutting.repaired import Repairing
from graphprune.ground.clock import Clock
from graphprune.ground.errors import BudgetError
from graphprune.planning import Plan
from graphprune.profiling import Profile
from graphprune.rewriting import rewrite
from graphprune.scoring import Criterion, Importance
from graphprune.searching.prepared import Prepared, prepare

__all__ = ["settled"]

Harm = Callable[[Plan], float]


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
    seen, unseen = _halves(graph, request.calibration)
    harm = _harm(graph, unseen, None if mend is None else replace(mend, calibration=seen))
    found: dict[str, float] = {}
    made: dict[str, Request] = {}
    scored: dict[str, Prepared] = {}
    refused: list[BudgetError] = []
    for criterion, ranking in request.choices:
        choice = replace(request, criterion=criterion, ranking=ranking, choices=())
        trial = replace(choice, criterion=_on(criterion, seen), rounds=1, between=None, trials=0)
        known = scored.get(str(criterion))
        prepared = replace(known, request=trial) if known else prepare(graph, trial, clock, measured)
        scored[str(criterion)], measured = prepared, prepared.profile
        name = f"{criterion}, {ranking}"
        try:
            with clock(f"try {name}"):
                found[name], made[name] = harm(prepared.plan()), choice
        except BudgetError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    best = min(found, key=lambda name: found[name])
    return replace(made[best], tried=found), measured


def _halves(graph: DependencyGraph, calibration: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    """Every other batch, and the rest; a batch alone is both."""
    batches = [batch for batch, _ in Calibration(calibration).walk(graph.program)]
    return (batches[::2], batches[1::2]) if len(batches) > 1 else (batches, batches)


def _on(criterion: Importance, batches: Sequence[Any]) -> Importance:
    """The criterion with other data, where it looks at any."""
    if isinstance(criterion, Criterion) and criterion.calibration is not None:
        return replace(criterion, calibration=batches)
    return criterion


def _harm(graph: DependencyGraph, unseen: Sequence[Any], mend: Repairing | None) -> Harm:
    """A plan → how far the outputs are from the original's, squared and relative; after the repair, if any."""
    distance = Distance(graph.program, unseen)

    def harm(plan: Plan) -> float:
        slim = rewrite(graph, plan)
        if mend is not None:
            slim, _ = mend.repaired(graph, plan, slim)
        return distance(slim) ** 2

    return harm

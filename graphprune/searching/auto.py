"""``importance="auto"``: several ways to choose units are tried on calibration data, and the best one is taken.

Each is tried on half of the batches and judged on the others. A choice, and a repair even more, fits the data that it
has seen: units that only other inputs need are the first that it removes. So the data that it has seen do not tell how
good it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from graphprune.asking.options import SYNTHETIC
from graphprune.asking.request import Request
from graphprune.axes.dependency import DependencyGraph
from graphprune.calibration import Calibration, Distance
from graphprune.capture import tensor_leaves
from graphprune.cutting.cut import cut
from graphprune.cutting.repaired import Repairing
from graphprune.ground.arguments import examples_in
from graphprune.ground.clock import Clock
from graphprune.ground.errors import BudgetError
from graphprune.searching.prepared import Known, Prepared, prepare
from graphprune.searching.rounds import planned
from graphprune.searching.search import search

__all__ = ["prepare_best"]

# multiply-accumulates that all tries together may take, on a user's data and on data that are made: about a minute and
# a half and a quarter of a minute on one core; a try takes so many passes over the data
TRIES, MADE_TRIES, PASSES = 3e12, 5e11, 4
HALF = "half"  # of the batches, on which choices are tried
ROUNDING = 1e-5  # of distances of outputs in float32, and of their squares, which are judged


def prepare_best(
    graph: DependencyGraph, request: Request, repairer: Repairing | None, clock: Clock, known: Known
) -> Prepared:
    """`prepare` for the one of the request's choices that leaves the outputs nearest, or for the request itself.

    Each choice is planned in one round and, where there is a repair, repaired; a latency is only predicted.

    Args:
        known: what was found for this request with other budgets.

    Raises:
        BudgetError: no choice meets the budgets.
        InputError: a criterion cannot be computed on these data.
    """
    if not request.choices:
        return prepare(graph, request, clock, known)
    choices = _affordable(graph, request)
    if len(choices) < 2:
        return _first_that_plans(graph, request, clock, known)
    seen, unseen = known.once("halves", lambda: _halves(graph, request.calibration))
    distance = known.once("distance", lambda: Distance(graph.program, unseen))
    half = None if repairer is None else replace(repairer, calibration=seen)

    def measure(choice: Request) -> float | BudgetError:
        prepared = prepare(graph, _on_trial(choice, seen), clock, known, HALF)
        if graph.groups and len(_unjudged(prepared)) == len(graph.groups):
            return BudgetError(f"{choice.criterion} can judge none of the groups", "use another importance")
        try:
            with clock(f"try {_name(choice)}"):
                made = cut(graph, planned(prepared))
                return distance((half.attempt(made) if half else made).slim) ** 2
        except BudgetError as error:
            return error

    trials = search(lambda trials: choices, measure)
    found = [(t.outcome, t.candidate) for t in trials if not isinstance(t.outcome, BudgetError)]
    if not found:
        raise next(trial.outcome for trial in trials if isinstance(trial.outcome, BudgetError))
    prepared = prepare(graph, _first_of_the_best(found), clock, known)
    tried = {_name(choice): outcome for outcome, choice in found}
    return replace(prepared, found={**prepared.found, "tried": tried})


def _first_that_plans(graph: DependencyGraph, request: Request, clock: Clock, known: Known) -> Prepared:
    """The first choice that can meet the budgets with the groups that it can judge; the others stay whole.

    Raises:
        BudgetError: no choice meets them.
    """
    failed: BudgetError | None = None
    for choice in request.choices:
        found = prepare(graph, choice, clock, known)
        if graph.groups and len(_unjudged(found)) == len(graph.groups):
            continue
        try:
            with clock("plan"):
                planned(replace(found, request=_on_trial(choice, choice.calibration)))
        except BudgetError as error:
            failed = failed or error
            continue
        return found
    raise failed or BudgetError("no importance can judge the model's groups", "name another importance")


def _unjudged(prepared: Prepared) -> list[str]:
    return [name for name, score in prepared.scores.items() if score is None]


def _affordable(graph: DependencyGraph, request: Request) -> Sequence[Request]:
    """The first of the choices, as many as their price allows, which is counted and not timed.

    Tokens that nobody has written cannot judge choices: on them plain weights look better than they are (MiniLM in
    docs/no-data.md). There the first choice is taken.
    """
    choices = request.choices
    if len(choices) < 2 or getattr(request.calibration, "unwritten", False):
        return choices[:1]
    batches = [batch for batch, _ in Calibration(request.calibration).walk(graph.program)]
    fixed = not graph.program.dynamic_batch  # a call is one example then
    examples = sum(1 if fixed else examples_in(tensor_leaves(batch)) for batch in batches)
    limit = MADE_TRIES if getattr(request.calibration, "name", "") == SYNTHETIC else TRIES
    return choices[: max(int(limit / max(graph.cost().macs * examples * PASSES, 1)), 1)]


def _first_of_the_best(found: Sequence[tuple[float, Request]]) -> Request:
    """The first choice that nothing but rounding sets apart from the best: it is the same one on every machine."""
    least = min(outcome for outcome, _ in found)
    return next(choice for outcome, choice in found if outcome <= least * (1 + ROUNDING) + ROUNDING**2)


def _name(choice: Request) -> str:
    return f"{choice.criterion}, {choice.ranking}"


def _halves(graph: DependencyGraph, calibration: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    """Every other batch, and the rest; a batch alone is both."""
    batches = [batch for batch, _ in Calibration(calibration).walk(graph.program)]
    return (batches[::2], batches[1::2]) if len(batches) > 1 else (batches, batches)


def _on_trial(choice: Request, seen: Sequence[Any]) -> Request:
    """In one round, with half of the data."""
    alone: dict[str, Any] = {"rounds": 1, "between": None, "trials": 0, "evaluate": None, "repair": False}
    alone |= {"calibration": seen, "not_slower": False}
    return choice.with_choice(str(choice.importance), choice.ranking, **alone)

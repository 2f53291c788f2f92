"""``sweep``: several budgets of one model with one analysis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from graphprune.asking.request import Request
from graphprune.asking.sweeping import each_budget, first_values
from graphprune.axes.dependency import DependencyGraph
from graphprune.face.shrink import Analysed, analysed, carried_out, check_plannable, proposed
from graphprune.face.verb import asked, takes
from graphprune.ground.clock import Clock, headed
from graphprune.ground.errors import BudgetError
from graphprune.report.tradeoff import budget_text, refused_point
from graphprune.results.sweep import Point, Sweep

__all__ = ["plan_sweep", "sweep"]

Swept = tuple[str, tuple[Request, ...]]


def _asked(model: nn.Module | DependencyGraph, options: Mapping[str, Any]) -> Swept:
    """The budget that is given several values, and a request for each."""
    return each_budget(asked(model, first_values(options)), options)


@takes(Request, _asked)
def sweep(model: nn.Module | DependencyGraph, example_inputs: Any, requests: Swept) -> Sweep:
    """Shrinks ``model`` to several budgets, to see what each of them costs the answers.

    One budget is given several values, such as ``macs=(0.9, 0.7, 0.5)``. The model is captured, analysed, given data,
    scored and profiled once. Every budget is then planned, cut, repaired, verified and judged by itself, as `shrink`
    does with that value, and with the same result.

    Args:
        model: the model, its graph from `trace`, or the path of an ONNX file.
        example_inputs: as for `shrink`.

    Raises:
        BudgetError: no budget can be met. One that cannot, where another can, is a point without a result.
        GraphpruneError: see `shrink`.
    """
    kind, of, clock = _analysed(model, example_inputs, requests)
    points = []
    for value, one in of:
        try:
            told = headed(one.request.progress, f"{kind} {budget_text(value)}")
            points.append(Point(value, carried_out(one, Clock(told))))
        except BudgetError as error:
            points.append(Point(value, refused=error))
    if all(point.refused for point in points) and points[0].refused:
        raise points[0].refused
    return Sweep(kind, tuple(points), dict(clock.seconds))


@takes(Request, _asked)
def plan_sweep(model: nn.Module | DependencyGraph, example_inputs: Any, requests: Swept) -> dict[str, Any]:
    """What `sweep` would do with the same arguments, without cutting anything; ready for JSON.

    Args:
        model: the model, its graph from `trace`, or the path of an ONNX file.
        example_inputs: as for `sweep`.

    Raises:
        BudgetError: no budget can be met.
        GraphpruneError: as for `plan`.
    """
    check_plannable(requests[1][0])
    kind, of, _ = _analysed(model, example_inputs, requests)
    points: list[dict[str, Any]] = []
    refused: list[BudgetError] = []
    for value, one in of:
        try:
            told = headed(one.request.progress, f"{kind} {budget_text(value)}")
            points.append({"budget": value, **proposed(one, Clock(told)).to_dict()})
        except BudgetError as error:
            refused.append(error)
            points.append(refused_point(value, str(error)))
    if len(refused) == len(points):
        raise refused[0]
    return {"kind": kind, "points": points}


def _analysed(
    model: nn.Module | DependencyGraph, example_inputs: Any, requests: Swept
) -> tuple[str, Iterator[tuple[float | str, Analysed]], Clock]:
    """The model, analysed once, with each of the budgets."""
    kind, (first, *others) = requests
    clock = Clock(first.progress)
    of = analysed(model, example_inputs, first, clock)
    values = [getattr(request, kind) for request in (first, *others)]
    return kind, ((value, of.with_budget(kind, value)) for value in values), clock

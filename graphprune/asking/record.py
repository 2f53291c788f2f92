"""The request as a plan records it, and the options that ask for the same again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from graphprune.asking.options import AUTO, Options
from graphprune.asking.request import Request
from graphprune.axes.dependency import DependencyGraph
from graphprune.ground.dynamic import dynamic_text
from graphprune.ground.options import declarations
from graphprune.planning import Constraints
from graphprune.planning.document import PlanRequest
from graphprune.scoring import Criterion, Importance, PeerImportance

__all__ = ["PlanRequest", "as_call", "as_options", "described", "record"]

Record = Mapping[str, Any]
OBJECTS = ("calibration", "loss", "between")  # recorded by their names alone


def record(request: Request, constraints: Constraints, graph: DependencyGraph) -> dict[str, Any]:
    """What was asked for, for `Plan.request`.

    Args:
        constraints: those of the request, with the multiples that were found for ``align="auto"``.
        graph: of the model; its program knows which outputs it was captured with.
    """
    plain = {
        name: said(getattr(request, name))
        for name, default, option in declarations(Options)
        if option.recorded == "always" or (option.recorded and getattr(request, name) != default)
    }
    limits = {name: said(value) for name, value in asdict(constraints).items()}
    if isinstance(constraints.align, Mapping):
        limits |= {"align": AUTO, "multiples": dict(constraints.align)}
    captured: dict[str, Any] = {"outputs": list(graph.program.wanted)} if graph.program.wanted else {}
    if request.wanted_dynamic != Options.dynamic:
        captured["dynamic"] = dynamic_text(request.wanted_dynamic)
    if request.wanted_export_dtype:
        captured["export_dtype"] = request.wanted_export_dtype
    if request.is_lossless:
        return {"lossless": True, **limits, **captured, "seed": request.seed}
    budget = {budget.kind: budget.request for budget in request.budgets}
    return {"budget": budget, **limits, **captured, **plain}


def said(value: Any) -> Any:
    """A value as JSON holds it; a function by its name."""
    if callable(value):
        return getattr(value, "__name__", "a function")
    return list(map(said, value)) if isinstance(value, tuple) else value


def described(criterion: Importance, scores: Mapping[str, Any]) -> dict[str, Any]:
    """How units were judged, and the groups that could not be."""
    left = [name for name, score in scores.items() if score is None]
    unjudged = {"unjudged": left} if left else {}
    if not isinstance(criterion, Criterion | PeerImportance):
        return {"importance": type(criterion).__name__, **unjudged}
    data = {}
    if criterion.calibration is not None:
        loss = getattr(criterion.loss, "__name__", type(criterion.loss).__name__) if criterion.loss else None
        data = {"calibration": type(criterion.calibration).__name__, "loss": loss}
    return {"importance": str(criterion), **data, **unjudged}


def as_options(request: Record) -> dict[str, Any]:
    """The options of Python that a record amounts to; objects, such as calibration data, are not recorded."""
    given = {**request, **request.get("budget", {}), "repair": bool(request.get("repair"))}
    if not given["repair"]:
        del given["repair"]
    return {
        name: given[name]
        for name, default, _ in declarations(Options)
        if name in given and name not in OBJECTS and given[name] != default
    }


def as_call(request: Record) -> str:
    """The call of `graphprune.shrink` that a record amounts to.

    >>> as_call({"budget": {"macs": 0.5}, "importance": "l1", "align": 8, "seed": 0, "calibration": "list"})
    "graphprune.shrink(model, example_inputs, macs=0.5, importance='l1', align=8, calibration=...)"
    """
    words = [f"{name}={value!r}" for name, value in as_options(request).items()]
    words += [f"{name}=..." for name in OBJECTS if request.get(name)]
    return f"graphprune.shrink(model, example_inputs, {', '.join(words)})"

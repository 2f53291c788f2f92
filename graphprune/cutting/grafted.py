"""A slim model as the user's own class: what its code asks of a plan, and the proof that it is the slim model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import fx, nn

from graphprune.asking.request import Request
from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.grafting import Place, graft, shown_place, whole_numbers
from graphprune.capture.inputs import registered_tensors
from graphprune.cutting.cut import Cut
from graphprune.cutting.fitting import Fit, find_fit, kind_of
from graphprune.cutting.trial import numbers_at
from graphprune.ground.clock import Clock
from graphprune.ground.errors import InputError, VerificationError
from graphprune.planning import Plan
from graphprune.planning.ties import read_ties
from graphprune.verifying import Check
from graphprune.verifying.grafted import grafted_checks

__all__ = ["fitted", "own_model", "put_into", "with_proof"]

ATTRIBUTES = "attributes"
REMEDY_MODEL = "give the model that was shrunk"
REMEDY = (
    "let that line take the width from its tensors, shrink with graft=True, or use the slim module as it is"
)


def fitted(
    graph: DependencyGraph, request: Request, clock: Clock
) -> tuple[DependencyGraph, Request, Fit | None]:
    """What the model's own code asks for, added to the request, and to the notes of the program what it holds.

    Raises:
        InputError: there is no module that the graph was captured from.
    """
    if not request.graft:
        return graph, request, None
    _require_model(graph)
    with clock("try the model's own code"):
        fit = find_fit(graph, request.seed)
    program = replace(graph.program, notes=(*graph.program.notes, *_notes(fit)))
    protected = (*request.constraints.protect, *fit.held)
    ties = tuple(dict.fromkeys((*read_ties(request.ties), *fit.ties)))
    asked = request if request.plan is not None else replace(request, protect=protected, ties=ties)
    return replace(graph, program=program), asked, fit


def _notes(fit: Fit) -> list[str]:
    """One for every kind of groups that the code holds."""
    kinds: dict[str, list[str]] = {}
    for name in fit.held:
        kinds.setdefault(kind_of(name), []).append(name)
    return [
        f"{_shown(names)}: the width stays, since the model's own code needs it: {fit.held[names[0]]}"
        for names in kinds.values()
    ]


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more such groups" if len(names) > 1 else ""
    return f"group {names[0]}{more}"


def with_proof(made: Cut, fit: Fit | None, seed: int) -> Cut:
    """The cut with the checks of its model as the user's own class; as it is where that was not asked for.

    Raises:
        VerificationError: the user's forward does not give what the slim model gives.
    """
    if fit is None:
        return made
    checks = tuple(_checks(made.graph, made.plan, made.module, fit, seed))
    failed = "; ".join(str(check) for check in checks if not check.passed)
    if failed:
        raise VerificationError(
            f"the slim layers do not fit into the model's own class: {failed}",
            "nothing was written; shrink without graft, or protect the layers in that line",
        )
    numbers = numbers_at(made.graph, fit.numbers, made.plan.sizes)
    record = {**made.plan.request, ATTRIBUTES: [[*place, value] for place, value in numbers.items()]}
    plan = replace(made.plan, request=record)
    return replace(made, plan=plan, verdict=made.verdict.with_checks(*checks), fit=fit)


def put_into(model: nn.Module, layers: fx.GraphModule, plan: Plan) -> nn.Module:
    """A copy of ``model`` with the tensors of a slim model that was loaded, and the attributes that its plan names.

    Raises:
        InputError: the slim model was not made of such a model, or without ``graft``.
    """
    if ATTRIBUTES not in plan.request:
        raise InputError(
            "this slim model was not made to fit into a class", "shrink with graft=True, or --graft"
        )
    slim, own, known = registered_tensors(layers), registered_tensors(model), whole_numbers(model)
    numbers = _recorded(plan.request[ATTRIBUTES])
    places = [shown_place(place) for place in numbers if place not in known]
    kind, strange = type(model).__name__, [*(name for name in slim if name not in own), *places]
    if strange:
        raise InputError(f"{kind} has no {strange[0]}", REMEDY_MODEL)
    kept = {
        id(slim[name]): dims for name, dims in plan.kept.items() if name in slim
    }  # of tied ones one is named
    for name, tensor in slim.items():
        dims, shape = kept.get(id(tensor), {}), tuple(own[name].shape)
        if tuple(len(dims.get(dim, range(size))) for dim, size in enumerate(shape)) != tuple(tensor.shape):
            raise InputError(
                f"{name} is {shape} in {kind}, {tuple(tensor.shape)} in the slim model", REMEDY_MODEL
            )
    return graft(model, layers, numbers)


def _recorded(given: Any) -> dict[Place, int]:
    """Attributes and their values as a plan has them, which may come from anyone."""
    rows = given if isinstance(given, list) else [given]
    for row in rows:
        parts = row if isinstance(row, list) else []
        if (
            len(parts) < 3
            or any(type(part) not in (str, int) for part in parts)
            or type(parts[-1]) is not int
        ):
            raise InputError(
                f"the plan's {ATTRIBUTES} hold {row!r}, which is no place with a whole number", REMEDY_MODEL
            )
    return {tuple(place): value for *place, value in rows}


def own_model(
    graph: DependencyGraph, plan: Plan, layers: fx.GraphModule, fit: Fit | None, seed: int = 0
) -> nn.Module:
    """The user's own module with slim layers, see `graphprune.results.result.Result.graft`.

    Raises:
        InputError: its forward does not run with them, or gives something else.
    """
    _require_model(graph)
    fits = [fit] if fit is not None else [Fit(), find_fit(graph, seed)]
    for tried in fits:
        failed = next((c for c in _checks(graph, plan, layers, tried, seed) if not c.passed), None)
        if failed is None:
            return _grafted(graph, plan, layers, tried)
    assert failed is not None
    what = (
        f"does not run with slim layers: {failed.detail}"
        if failed.detail
        else "computes otherwise with slim layers"
    )
    raise InputError(f"the model's own forward {what}", REMEDY)


def _grafted(graph: DependencyGraph, plan: Plan, layers: fx.GraphModule, fit: Fit) -> nn.Module:
    assert graph.program.model is not None
    return graft(graph.program.model, layers, numbers_at(graph, fit.numbers, plan.sizes))


def _checks(
    graph: DependencyGraph, plan: Plan, layers: fx.GraphModule, fit: Fit, seed: int
) -> Sequence[Check]:
    return tuple(
        grafted_checks(graph.program, layers, lambda layers: _grafted(graph, plan, layers, fit), seed)
    )


def _require_model(graph: DependencyGraph) -> None:
    if graph.program.model is None:
        raise InputError("there is no module that this was captured from", "shrink a torch.nn.Module")

"""What a user may ask for when units are to be removed, checked before any work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from graphprune.calibration import Evaluate, Loss
from graphprune.ground.errors import InputError
from graphprune.planning import UNITS, Budget, Constraints, check_ranking
from graphprune.planning.schedule import Schedule, check_schedule
from graphprune.scoring import Criterion, Importance, find_importance
from graphprune.scoring.criteria import LOSSES
from graphprune.searching.trials import check_trials

__all__ = ["AUTO", "Options", "Request", "find_align", "find_budgets", "make_request"]

AUTO: Literal["auto"] = "auto"
# importance and ranking that "auto" tries: each is the best of them for some model (docs/choice.md, docs/accuracy.md)
CHOICES = (
    ("refit", "per_cost"),
    ("refit_shrunk", "per_cost"),
    ("refit", "isomorphic"),
    ("lamp", "isomorphic"),
    ("lamp", "global"),
    ("l2", "isomorphic"),
    ("fisher::none", "per_cost"),
)


class Options(TypedDict, total=False):
    """Keyword arguments that `graphprune.plan` and `graphprune.shrink` share; the latter says what they mean."""

    macs: float | str | None
    params: float | str | None
    onnx_bytes: float | str | None
    memory: float | str | None
    latency: float | str | None
    ratio: float | None
    importance: str | Importance
    calibration: Any
    loss: Loss | None
    align: int | str
    min_keep: int
    protect: Sequence[str]
    ranking: str
    max_ratio: float
    ratios: Mapping[str, float] | None
    outputs: Sequence[str]
    threads: int
    batch: int
    seed: int
    rounds: int
    schedule: str | Schedule
    between: Callable[[Any], Any] | None
    trials: int
    evaluate: Evaluate | None


@dataclass(frozen=True)
class Request:
    """How many units to remove, which, and within what limits.

    Args:
        budgets: one ratio, or budgets of costs.
        constraints: what a plan must respect; its ``align`` counts unless that of the request is "auto".
        choices: importance and ranking to try, of which one takes the place of ``criterion`` and ``ranking``.
        tried: what was measured of them.
        align: a multiple, or "auto" for those that the runtime likes.
        coarser: how many times as wide steps to take as the runtime likes.
        calibration: what trials measure on.
        evaluate: what they measure by, instead of a distance of outputs.
    """

    budgets: tuple[Budget, ...]
    criterion: Importance
    constraints: Constraints
    align: int | str = AUTO
    ranking: str = "global"
    threads: int = 1
    batch: int = 1
    seed: int = 0
    coarser: int = 1
    rounds: int = 1
    schedule: str | Schedule = "linear"
    between: Callable[[Any], Any] | None = None
    trials: int = 0
    evaluate: Evaluate | None = None
    calibration: Any = None
    choices: tuple[tuple[Importance, str], ...] = ()
    tried: Mapping[str, float] = field(default_factory=dict)


def make_request(options: Options, other: Sequence[str] = (), shared: bool = False) -> Request:
    """Checks options and fills in defaults.

    Args:
        other: what else was given that says what goes, instead of a budget.
        shared: the calibration data are for a repair too, so that they need not be for the criterion.

    Raises:
        InputError: an option is out of range or unknown, or budgets do not go together.
    """
    budgets = find_budgets(options, other)
    align = find_align(options.get("align", AUTO))
    constraints = Constraints(
        1 if align == AUTO else align,
        options.get("min_keep", 1),
        tuple(options.get("protect", ())),
        options.get("max_ratio", 1.0),
        dict(options.get("ratios") or {}),
    )
    choices = _choices(options) if options.get("importance") == AUTO else ()
    ranking = options.get("ranking", "global")
    check_ranking(ranking)
    timing = (options.get("threads", 1), options.get("batch", 1))
    request = Request(
        budgets,
        choices[0][0] if choices else _criterion(options, shared),
        constraints,
        align,
        ranking,
        *timing,
        options.get("seed", 0),
        rounds=options.get("rounds", 1),
        schedule=options.get("schedule", "linear"),
        between=options.get("between"),
        trials=options.get("trials", 0),
        evaluate=options.get("evaluate"),
        calibration=options.get("calibration"),
        choices=choices,
    )
    _check_walks(request, other)
    return request


def _criterion(options: Options, shared: bool) -> Importance:
    """The importance with its data, which trials take too."""
    importance, data = options.get("importance", "l2"), options.get("calibration")
    return find_importance(importance, data, options.get("loss"), shared or options.get("trials", 0) > 0)


def _choices(options: Options) -> tuple[tuple[Importance, str], ...]:
    """What is to be tried.

    Raises:
        InputError: there are no data to try it on, or the ranking is settled.
    """
    data, loss = options.get("calibration"), options.get("loss")
    if data is None:
        raise InputError(
            "importance 'auto' tries choices on data, and there is none",
            "give calibration batches: calibration=DataLoader(...), or --calibration FILE",
        )
    if options.get("ranking", "global") != "global":
        raise InputError("importance 'auto' finds the ranking too", "leave ranking out")
    # a ratio of every group leaves nothing to rank
    tried = dict.fromkeys((name, "global") for name, _ in CHOICES) if options.get("ratio") else CHOICES
    return tuple(
        (find_importance(name, data, loss if Criterion.parse(name).name in LOSSES else None, True), ranking)
        for name, ranking in tried
    )


def _check_walks(request: Request, other: Sequence[str]) -> None:
    """Rounds and trials, which walk the calibration data several times, and what goes with them."""
    check_schedule(request.rounds, request.schedule)
    check_trials(request.trials, request.evaluate)
    several = [name for name, value in (("rounds", request.rounds - 1), ("trials", request.trials)) if value]
    if several and other:
        raise InputError(f"{several[0]} have no effect on {other[0]}", "leave them out: what goes is settled")
    if request.between is not None:
        _check_between(request)


def _check_between(request: Request) -> None:
    if request.rounds == 1:
        raise InputError("between is given, and there is one round", "give rounds=2 or more")
    if request.trials:
        raise InputError(
            "trials measure the original's weights, and between changes them", "leave one of them out"
        )
    if any(budget.kind == "latency" for budget in request.budgets):
        raise InputError(
            "latency is measured before anything is trained, and between trains",
            "give macs, or tune the result afterwards",
        )


def find_align(given: int | str) -> int | Literal["auto"]:
    """A multiple, or "auto".

    Raises:
        InputError: it is neither.
    """
    if given == AUTO:
        return AUTO
    try:
        number = int(given) if isinstance(given, str) else given
    except ValueError:
        raise InputError(
            f"align={given!r} is no number", f"give a multiple, 1 for any width, or {AUTO!r}"
        ) from None
    return number


def find_budgets(options: Mapping[str, Any], other: Sequence[str] = ()) -> tuple[Budget, ...]:
    """Budgets of costs, any number of them; or one ratio; or none where there is something ``other``.

    Raises:
        InputError: a value is out of range, or there are several that exclude each other, or none.
    """
    chosen = tuple(
        Budget.parse(kind, options[kind]) for kind in (*UNITS, "ratio") if options.get(kind) is not None
    )
    ratios = [budget.kind for budget in chosen if budget.kind == "ratio"]
    exclusive = [*ratios, *other]
    if len(exclusive) + (len(chosen) > len(ratios)) != 1:
        given = [*(budget.kind for budget in chosen), *other]
        what = f"{' and '.join(given)} are given together" if given else "no budget is given"
        raise InputError(what, f"give any of {', '.join(UNITS)}, or exactly one of ratio, lossless and plan")
    return chosen

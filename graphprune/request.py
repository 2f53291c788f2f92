"""What a user may ask for when units are to be removed, checked before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from graphprune.errors import InputError
from graphprune.planning import UNITS, Budget, Constraints, check_ranking
from graphprune.scoring import Importance, Loss, find_importance

__all__ = ["AUTO", "Options", "Request", "find_align", "find_budgets", "make_request"]

AUTO: Literal["auto"] = "auto"


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


@dataclass(frozen=True)
class Request:
    """How many units to remove, which, and within what limits.

    Args:
        budgets: one ratio, or budgets of costs.
        constraints: what a plan must respect; its ``align`` counts unless that of the request is "auto".
        align: a multiple, or "auto" for those that the runtime likes.
        coarser: how many times as wide steps to take as the runtime likes.
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
    ranking = options.get("ranking", "global")
    check_ranking(ranking)
    criterion = find_importance(
        options.get("importance", "l2"), options.get("calibration"), options.get("loss"), shared
    )
    timing = (options.get("threads", 1), options.get("batch", 1))
    return Request(budgets, criterion, constraints, align, ranking, *timing, options.get("seed", 0))


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

"""Which stages a shrink will have, as far as its request tells; a test compares them with those that it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphprune.asking.options import AUTO, SYNTHETIC
from graphprune.planning.budgets import COSTS, values_of

__all__ = ["headings", "steps"]

Options = Mapping[str, Any]


def _chooses(options: Options) -> bool:
    """Whether choices are tried on data."""
    return options["importance"] == AUTO and not options["fast"] and not _instead(options)


def _instead(options: Options) -> bool:
    return options["plan"] is not None or bool(options["lossless"])


def _repairs(options: Options) -> bool:
    return bool(options["repair"]) or (options["repair"] is None and _chooses(options))


def _makes_data(options: Options) -> bool:
    given = options["calibration"]
    needed = _repairs(options) or _chooses(options)
    return given == SYNTHETIC if isinstance(given, str) else given is None and needed


def _profiles(options: Options) -> bool:
    kinds = [kind for kind, cost in COSTS.items() if cost.profiled]
    return bool(options["not_slower"]) or any(options[kind] is not None for kind in kinds)


# stage and when a shrink has it; what is tried, and what rounds repeat, no request foretells
ANALYSIS: tuple[tuple[str, Callable[[Options], bool]], ...] = (
    ("capture", lambda o: True),
    ("analyse", lambda o: True),
    ("try the model's own code", lambda o: o["graft"]),
    ("make calibration data", _makes_data),
)
CUT: tuple[tuple[str, Callable[[Options], bool]], ...] = (
    ("find dead units", lambda o: o["lossless"]),
    ("learn the runtime's widths", lambda o: o["align"] == AUTO and not _instead(o)),
    ("score", lambda o: not _instead(o)),
    ("profile the original", lambda o: _profiles(o) and not _instead(o)),
    ("export the original", lambda o: _profiles(o) and not _instead(o)),
    ("plan", lambda o: o["plan"] is None),
    ("rewrite", lambda o: True),
    ("verify", lambda o: True),
    ("repair", _repairs),
    ("verify the repair", _repairs),
    ("judge the answers", lambda o: not _instead(o) and (_repairs(o) or _chooses(o))),
)
PLANNED = (
    "find dead units",
    "learn the runtime's widths",
    "score",
    "profile the original",
    "export the original",
    "plan",
)
WRITTEN = ("export", "run in onnxruntime", "compare on random weights")
FILE = ("cut the file", "prove the file in onnxruntime")


def steps(
    options: Options, budgets: tuple[str, ...], dry_run: bool, evaluates: bool, times: bool, from_file: bool
) -> list[str]:
    """Names of the stages, in their order.

    Args:
        options: of `graphprune.shrink`.
        budgets: headings of the budgets of a sweep; empty where there is one.
        evaluates: the models are judged before and after.
        times: the files are timed.
        from_file: the model is an ONNX file.
    """
    analysis = [stage for stage, has in ANALYSIS if has(options)]
    cut = [stage for stage, has in CUT if has(options) and (not dry_run or stage in PLANNED)]
    cuts = [f"{heading}: {stage}" for heading in budgets for stage in cut] if budgets else cut
    if dry_run:
        return [*analysis, *cuts]
    original, slim = (["evaluate the original"], ["evaluate the slim model"]) if evaluates else ([], [])
    written = [*(FILE if from_file else WRITTEN)]
    timed = ["export the original", "time"] if times else []
    if not budgets:
        return [*original, *analysis, *cuts, *slim, *written, *timed]
    once = timed[:1] if not _profiles(options) else []
    each = [*written, *timed]
    saved = [stage for heading in budgets for stage in (*slim, *(f"{heading}: {one}" for one in each))]
    return [*original, *analysis, *cuts, *once, *saved]


def headings(kind: str, options: Options) -> tuple[str, ...]:
    """What stands before the stages of each budget of a sweep."""
    return tuple(f"{kind} {value}" for value in values_of(options[kind])) if kind else ()

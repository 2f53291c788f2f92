"""One result of a sweep, made the result."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from graphprune import exporting
from graphprune.exporting import SWEEP
from graphprune.ground.documents import named, read_json
from graphprune.ground.errors import InputError
from graphprune.planning import Budget
from graphprune.planning.document import PlanDocument
from graphprune.report.document import read_report
from graphprune.report.page import render
from graphprune.report.tradeoff import SweepDocument, budget_text

__all__ = ["pick", "read_sweep"]


def read_sweep(directory: Path) -> dict[str, Any]:
    """sweep.json of a sweep's folder.

    Raises:
        InputError: it is none, or the file is damaged.
    """
    path = directory / SWEEP
    if not path.is_file():
        raise InputError(
            f"{directory} is no sweep: it holds no {SWEEP}",
            "make one by giving a budget several values, such as graphprune shrink MODEL --macs 0.9,0.7,0.5 -o DIR",
        )
    return named(path, lambda: read_json(path, SweepDocument))


def pick(
    directory: str | Path, budget: float | str, output: str | Path | None = None, force: bool = False
) -> dict[str, Any]:
    """Makes one result of a sweep the result; its page and its report hold the whole curve.

    It is written aside and swapped in whole. Without ``output`` the sweep's own folder becomes that result, and the
    results for the other budgets go.

    Args:
        directory: what `Sweep.save` wrote.
        budget: one of its budgets, such as 0.5.
        output: where the result goes; the sweep then stays as it is.
        force: a result may be lost that was trained, or that holds files of others; see `Result.save`.

    Returns:
        The report of the result.

    Raises:
        InputError: it is no sweep, has no such budget, or none that could be met; or something would be lost.
    """
    place = Path(directory)
    sweep = read_sweep(place)
    point = _found(sweep, budget, place)
    source, target = place / Path(str(point["folder"])).name, Path(output) if output is not None else place
    path, choice = source / "report.json", source / "plan.json"
    report = named(path, lambda: read_report(path))
    units = named(choice, lambda: read_json(choice, PlanDocument))["groups"]
    exporting.ensure_writable(target, force=force)
    report |= {"sweep": {**sweep, "picked": point["budget"]}}
    title = str(report.get("source", {}).get("model", report["name"]))
    copied = {
        file.name: partial(shutil.copyfile, file) for file in sorted(source.iterdir()) if file.is_file()
    }
    written = {
        "report.json": lambda path: path.write_text(exporting.rows_to_json(report), encoding="utf-8"),
        "report.html": lambda path: path.write_text(render(report, title, units), encoding="utf-8"),
    }
    exporting.write_directory(target, {**copied, **written}, force)
    return report


def _found(sweep: Mapping[str, Any], budget: float | str, place: Path) -> Mapping[str, Any]:
    """The point of that budget.

    Raises:
        InputError: there is none, or it could not be met.
    """
    kind = str(sweep["kind"])
    wanted = Budget.parse(kind, budget).request
    for point in sweep["points"]:
        if point["budget"] == wanted and "refused" in point:
            raise InputError(
                f"{kind} {budget_text(wanted)} has no result: {point['refused']}", "pick another"
            )
        if point["budget"] == wanted:
            return dict(point)
    known = ", ".join(budget_text(point["budget"]) for point in sweep["points"] if "refused" not in point)
    raise InputError(f"{place} has no result for {kind} {budget_text(wanted)}", f"pick one of {known}")

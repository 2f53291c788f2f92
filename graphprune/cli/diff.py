"""``graphprune diff``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from graphprune.cli.output import print_result
from graphprune.cli.request import DiffRequest
from graphprune.ground.documents import named, read_json
from graphprune.ground.errors import InputError
from graphprune.planning.document import PlanDocument
from graphprune.report.comparison import comparison
from graphprune.report.document import read_report
from graphprune.report.tables import comparison_table, difference_table

__all__ = ["diff"]

READERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "report.json": read_report,
    "plan.json": partial(read_json, schema=PlanDocument),
}
SHOWN = 30  # groups of a table; --json has them all


def diff(request: DiffRequest) -> None:
    """Compares two result directories. Nothing is loaded but their documents.

    Raises:
        InputError: one of them is no result directory, or a document of it is damaged.
    """
    one, other = request.directory_a, request.directory_b
    found = _compared(one, other)
    parts = (Text(f"A: {one}\nB: {other}"), *_parts(found))
    print_result({"one": str(one), "other": str(other), **found}, parts, request.json)


def _compared(*directories: Path) -> dict[str, Any]:
    reports, plans = (
        [_read(directory / name, read) for directory in directories] for name, read in READERS.items()
    )
    try:
        return comparison(reports[0], reports[1], (plans[0], plans[1]))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"a report or plan is damaged: {type(error).__name__} {error}", "shrink the model again"
        ) from error


def _read(path: Path, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    return named(path, lambda: read(path))


def _parts(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    yield comparison_table(found)
    for option, (one, other) in found["request"].items():
        yield Text(f"{option}: {_said(one)} in A, {_said(other)} in B")
    groups = sorted(
        (group for group in found["groups"] if not group["same"]),
        key=lambda group: -abs(group["one"] - group["other"]) / group["size"],
    )
    if groups:
        yield difference_table(groups[:SHOWN])
    if not found["same_original"]:
        yield Text("The originals have other tensors, so that their groups cannot be compared")
        return
    same = len(found["groups"]) - len(groups)
    more = f", of the others {len(groups) - SHOWN} are not shown" if len(groups) > SHOWN else ""
    yield Text(f"{same} of {len(found['groups'])} groups keep the same units{more}")


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in value.items()) or "none"
    return "none" if value in (None, []) else str(value)

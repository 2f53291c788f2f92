"""What a result directory lacks: said in its report, in the notes, and by a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from graphprune.ground.errors import GraphpruneError, InputError
from graphprune.report.page import lacks_packages

__all__ = ["lacking", "note_missing", "page_if_possible", "written_if_held"]


def note_missing(report: dict[str, Any], what: str, error: GraphpruneError) -> None:
    """Notes what is not in the directory, why, and what to do."""
    report.setdefault("missing", []).append({"what": what, "why": error.message, "remedy": error.remedy})
    report["notes"] = [*report["notes"], f"{what}: {error}"]
    warnings.warn(f"{what}: {error}", stacklevel=5)


def lacking(report: Mapping[str, Any], file: str) -> str:
    """Why a report says that a file was not written; empty if it does not."""
    rows = [row for row in report.get("missing", ()) if isinstance(row, Mapping)]
    return next((str(row.get("why")) for row in rows if file in str(row.get("what"))), "")


def written_if_held(report: dict[str, Any], write: Callable[[Path], None], path: Path) -> None:
    """Writes the slim model of an ONNX file for PyTorch, or notes why that cannot be; the smaller file is there."""
    try:
        write(path)
    except InputError as error:
        note_missing(report, f"no {path.name} was written", error)


def page_if_possible(
    report: dict[str, Any], write: Callable[[Path], None]
) -> dict[str, Callable[[Path], None]]:
    """What writes the page by its name; nothing, and a note, where the packages that draw it are not installed."""
    if (error := lacks_packages()) is None:
        return {"report.html": write}
    note_missing(report, "no report.html was written", error)
    return {}

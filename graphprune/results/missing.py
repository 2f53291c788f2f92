"""What a result directory lacks: said in its report, in the notes, and by a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from graphprune.ground.errors import GraphpruneError, InputError

__all__ = ["note_missing", "written_if_held"]


def note_missing(report: dict[str, Any], what: str, error: GraphpruneError) -> None:
    """Notes what is not in the directory, why, and what to do."""
    report.setdefault("missing", []).append({"what": what, "why": error.message, "remedy": error.remedy})
    report["notes"] = [*report["notes"], f"{what}: {error}"]
    warnings.warn(f"{what}: {error}", stacklevel=6)


def written_if_held(report: dict[str, Any], write: Callable[[Path], None], path: Path) -> None:
    """Writes the slim model of an ONNX file for PyTorch, or notes why that cannot be; the smaller file is there."""
    try:
        write(path)
    except InputError as error:
        note_missing(report, f"no {path.name} was written", error)

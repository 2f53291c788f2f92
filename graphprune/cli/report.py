"""``graphprune report``."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from graphprune.cli.curves import read_curves
from graphprune.cli.documents import read_document
from graphprune.cli.output import print_result
from graphprune.ground.errors import InputError
from graphprune.ground.files import write_text
from graphprune.report.page import render

__all__ = ["report"]

NEEDED = ("before", "after", "groups", "layers", "edges", "pins")


def report(directory: Path, sensitivity: Path | None, json: bool, quiet: bool) -> None:
    """Writes report.html from report.json and plan.json.

    Args:
        sensitivity: a file with curves, see `read_curves`.

    Raises:
        InputError: it is no result directory, or one of a version that did not record its layers.
    """
    found = read_document(directory / "report.json")
    if missing := [name for name in NEEDED if name not in found]:
        raise InputError(
            f"{directory}/report.json has no {missing[0]}: an older version wrote it",
            "shrink the model again; `shrink MODEL --plan` makes the same choice",
        )
    plan = read_document(directory / "plan.json")
    curves = read_curves(sensitivity) if sensitivity else None
    title = str(found.get("source", {}).get("model", found.get("name", directory.name)))
    page = directory / "report.html"
    try:
        text = render(found, title, plan.get("groups", {}), curves)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError) as error:
        raise InputError(
            f"{directory}/report.json cannot be shown: {type(error).__name__} {error}",
            "shrink the model again",
        ) from error
    write_text(page, text)
    document = {"page": str(page), "bytes": page.stat().st_size}
    print_result(document, [Text(f"Written to {page}")], json, quiet)

"""What ``graphprune pick`` takes; see `graphprune.cli.request`."""

# ruff: noqa: RUF009 – fields of the dataclass are made by calls
from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path

from graphprune.cli.shared_options import DIRECTORY, FORCE, JSON, QUIET
from graphprune.ground.options import option

__all__ = ["PickRequest"]


@dataclass(frozen=True)
class PickRequest:
    """Makes one result of a sweep the result: DIR itself, or another folder."""

    EXAMPLES = ("graphprune pick curve 0.5", "graphprune pick curve 0.7 -o slim")

    directory: Path = DIRECTORY(shown="DIR")
    budget: str = option(
        MISSING, "One of the budgets that the sweep has met, such as 0.5.", None, "BUDGET", argument=True
    )
    output: Path | None = option(
        None,
        "Where to; the sweep then stays. By default DIR itself becomes the result, and the others go.",
        None,
        "NEW",
        short="-o",
    )
    force: bool = FORCE()
    json: bool = JSON()
    quiet: bool = QUIET()

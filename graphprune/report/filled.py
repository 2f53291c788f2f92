"""A table of rows, as all tables of the terminal are made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

__all__ = ["filled_table"]


def filled_table(titles: str, rows: Iterable[Iterable[Any]]) -> Table:
    """A table of these rows.

    Args:
        titles: of the columns, with "|" between them; ">" before the title of a column of numbers, which stand at the
            right, as in "group|>width".
        rows: one cell per column. Everything but a `Text` is shown as ``str`` has it, brackets in it too.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for title in titles.split("|"):
        right = title.startswith(">")
        # fold, since half a layer name is no name
        side: Any = "right" if right else "left"
        table.add_column(title.removeprefix(">"), justify=side, overflow="fold", no_wrap=right)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return table

"""Writes docs/reference/commands.md: every command of `graphprune`, with its arguments and options.

    python tools/docs_commands.py

The texts are those of ``--help``. A test fails while the page is not what the program takes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import typer

from graphprune.cli.app import app

__all__ = ["PAGE", "page", "parameters"]

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "commands.md"
TITLE = (
    "# Commands\n\nWhat `graphprune COMMAND --help` says; `python tools/docs_commands.py` writes this page."
)
HEAD = "| option | value | default | meaning |\n| --- | --- | --- | --- |"


def parameters() -> dict[str, list[Any]]:
    """Command → its arguments and options, as the parser has them."""
    group: Any = typer.main.get_command(app)
    return {name: list(command.params) for name, command in group.commands.items()}


def page() -> str:
    """The whole page."""
    group: Any = typer.main.get_command(app)
    parts = [TITLE]
    for name, found in parameters().items():
        parts.append(f"## `graphprune {name}`\n\n{group.commands[name].help.strip()}")
        panels = ["", *dict.fromkeys(filter(None, map(_panel, found)))]
        for panel, items in groupby(sorted(found, key=lambda item: panels.index(_panel(item))), key=_panel):
            title = f"**{panel}**\n\n" if panel else ""
            parts.append("\n".join([f"{title}{HEAD}", *map(_row, items)]))
    return "\n\n".join(parts) + "\n"


def _panel(item: Any) -> str:
    return str(getattr(item, "rich_help_panel", None) or "")


def _row(item: Any) -> str:
    names = ", ".join(f"`{name}`" for name in _names(item))
    bare = getattr(item, "is_flag", False) or item.param_type_name == "argument"
    value = "" if bare else f"`{item.metavar or 'TEXT'}`"
    return f"| {names} | {value} | {_default(item)} | {_escaped(item.help or '')} |"


def _names(item: Any) -> Iterator[str]:
    if item.param_type_name == "argument":
        yield item.metavar or item.name
    else:
        yield from item.opts


def _default(item: Any) -> str:
    shown = item.default
    hidden = shown is None or shown is False or shown in ("", [], ()) or callable(shown)
    return "" if hidden else f"`{shown}`"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

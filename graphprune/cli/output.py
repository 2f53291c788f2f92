"""Where output goes: results to stdout, everything else to stderr; plain where nobody looks."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from rich.console import Console, RenderableType

__all__ = ["console", "print_json", "show", "stdout_is_kept"]

WIDTH = 80  # of tables where there is no terminal


def console(stream: TextIO) -> Console:
    """A console on ``stream``: without any styling under NO_COLOR, without control characters in a pipe."""
    if not stream.isatty():
        return Console(file=stream, width=WIDTH, color_system=None, force_terminal=False, highlight=False)
    plain = bool(os.environ.get("NO_COLOR"))
    return Console(file=stream, color_system=None if plain else "auto", highlight=False)


def show(*parts: RenderableType) -> None:
    """Prints a command's result on stdout. Text is shown as it is: layer names may hold brackets."""
    target = console(sys.stdout)
    for part in parts:
        target.print(part, markup=False, emoji=False)


def print_json(document: Mapping[str, Any]) -> None:
    """Prints one JSON document on stdout; figures that JSON lacks become their names."""
    print(json.dumps(_plain(document), indent=2, allow_nan=False, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


@contextlib.contextmanager
def stdout_is_kept() -> Iterator[None]:
    """What models and libraries print goes to stderr, so that stdout holds the result alone."""
    with contextlib.redirect_stdout(sys.stderr):
        yield

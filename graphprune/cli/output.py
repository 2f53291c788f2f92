"""Where output goes: results to stdout, everything else to stderr; plain where nobody looks."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

from rich.console import Console, RenderableType

__all__ = ["console", "print_json", "print_result", "silence", "stdout_is_kept"]

WIDTH = 80  # of tables where there is no terminal


def console(stream: TextIO) -> Console:
    """A console on ``stream``: without any styling under NO_COLOR, without control characters in a pipe."""
    if not stream.isatty():
        return Console(file=stream, width=WIDTH, color_system=None, force_terminal=False, highlight=False)
    plain = bool(os.environ.get("NO_COLOR"))
    return Console(file=stream, color_system=None if plain else "auto", highlight=False)


def print_result(
    document: Mapping[str, Any], parts: Iterable[RenderableType], json: bool, quiet: bool = False
) -> None:
    """Prints what came of a command: ``document`` with ``--json``, nothing with ``--quiet``, else ``parts``."""
    if json:
        print_json(document)
    elif not quiet:
        target = console(sys.stdout)
        for part in parts:
            target.print(part, markup=False, emoji=False)  # layer names may hold brackets


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
    """For the user's own code: what it prints goes to stderr, so that stdout holds the result alone."""
    with contextlib.redirect_stdout(sys.stderr), _no_warnings():
        yield


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """For libraries, which print, warn and dump graphs; whatever matters of it is raised."""
    with (
        open(os.devnull, "w", encoding="utf-8") as sink,
        contextlib.redirect_stdout(sink),
        contextlib.redirect_stderr(sink),
        _no_warnings(),
    ):
        yield


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

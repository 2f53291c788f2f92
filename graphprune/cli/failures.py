"""How a command ends: one line on stderr and an exit code that means something.

Ctrl-C and termination end it by an exception, so that half-written files are taken away.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Any

import typer
from typer.core import TyperGroup

from graphprune.cli.completion import OPTIONS, completion
from graphprune.cli.incidents import explained
from graphprune.cli.output import print_json
from graphprune.ground.errors import GraphpruneError

__all__ = ["Commands", "complain", "install_signals", "stop_if_interrupted"]

INTERRUPTED = 130
USAGE = 2
# A library may turn the exception into another one, or lose it, so that it is remembered here too.
_received: list[int] = []


def install_signals() -> None:
    """Handles SIGINT and SIGTERM alike, and forgets those that have come."""
    _received.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _signalled() -> int:
    """128 and the number of the signal that came, as shells count; 0 if none came."""
    return 128 + _received[-1] if _received else 0


def stop_if_interrupted() -> None:
    """Raises KeyboardInterrupt again where somebody has swallowed it."""
    if _received:
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt


class Commands(TyperGroup):
    """The group of all commands. Whatever one of them raises becomes one line and an exit code."""

    def main(self, args: Sequence[str] | None = None, *others: Any, **extra: Any) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        run: Callable[[], Any] = partial(super().main, given, "graphprune", standalone_mode=False)
        if given[:1] and given[0] in OPTIONS and "--help" not in given:
            run = partial(completion, given)
        sys.exit(_guarded(run, given))


def complain(text: str) -> None:
    """Prints one line on stderr, whatever line breaks ``text`` has."""
    print(f"graphprune: error: {' '.join(text.split())}", file=sys.stderr)


def _guarded(call: Callable[[], Any], given: Sequence[str]) -> int:
    try:
        # a command returns nothing; typer returns the code of an Exit, 130 of a KeyboardInterrupt
        code = int(call() or 0)
        return _interrupted() if code == INTERRUPTED else code
    except KeyboardInterrupt:  # while typer was on its way in or out
        return _interrupted()
    except Exception as error:
        if _signalled():
            return _interrupted()
        shown = error if isinstance(error, typer.TyperException) else explained(error, given)
        text, code = _described(shown)
        if "--debug" in given:
            traceback.print_exception(error)
        if "--json" in given:
            _print_error(shown, code)
        complain(text)
        return code


def _interrupted() -> int:
    complain("interrupted; no result was written")
    # CPython notes an interrupt that leaves an exec of a text, which imports do, and ends the process by a signal even
    # where it was handled; the next exec of a text takes the note away
    exec("")
    return _signalled() or INTERRUPTED


def _described(error: GraphpruneError | typer.TyperException) -> tuple[str, int]:
    """The line to print, and the exit code."""
    if isinstance(error, GraphpruneError):
        return _own_text(error), error.exit_code
    return _usage(error), USAGE


def _own_text(error: GraphpruneError) -> str:
    """A worker of a DataLoader hands its error on as the text of a traceback, which ends with what it says."""
    text, name = str(error), f"{type(error).__module__}.{type(error).__name__}: "
    return text.rpartition(name)[2].strip() if "Original Traceback" in text else text


def _print_error(error: Exception, code: int) -> None:
    message, remedy = getattr(error, "message", str(error)), getattr(error, "remedy", "")
    if isinstance(error, GraphpruneError) and not remedy:
        message, _, remedy = _own_text(error).partition(" — ")
    kind = type(error).__name__
    print_json({"error": {"type": kind, "message": message, "remedy": remedy, "exit_code": code}})


def _usage(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "graphprune"
    return f"{error.format_message().rstrip('.')} — see {command} --help"

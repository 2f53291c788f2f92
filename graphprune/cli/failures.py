"""How a command ends: one line on stderr and an exit code that means something."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from graphprune.cli.output import print_json
from graphprune.errors import GraphpruneError

__all__ = ["Commands", "complain"]

INTERRUPTED = 130
UNEXPECTED = 1
USAGE = 2


class Commands(TyperGroup):
    """The group of all commands. Whatever one of them raises becomes one line and an exit code."""

    def main(self, args: Sequence[str] | None = None, *others: Any, **extra: Any) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        run = super().main

        def call() -> Any:
            return run(given, "graphprune", standalone_mode=False)

        sys.exit(_guarded(call, "--debug" in given, "--json" in given))


def complain(text: str) -> None:
    """Prints one line on stderr, whatever line breaks ``text`` has."""
    print(f"graphprune: error: {' '.join(text.split())}", file=sys.stderr)


def _guarded(call: Callable[[], Any], debug: bool, json: bool) -> int:
    try:
        # a command returns nothing; typer returns the code of an Exit, 130 of a KeyboardInterrupt
        code = call() or 0
        if code == INTERRUPTED:
            complain("interrupted; nothing was written")
        return int(code)
    except GraphpruneError as error:
        return _fail(error, str(error), error.exit_code, debug, json)
    except typer.Abort as error:
        return _fail(error, "interrupted; nothing was written", INTERRUPTED, debug, json)
    except typer.TyperException as error:
        return _fail(error, _usage(error), USAGE, debug, json)
    except Exception as error:  # the last line of defence: nobody should see a traceback unasked
        text = f"unexpected {type(error).__name__}: {error} — run it again with --debug to see the traceback"
        return _fail(error, text, UNEXPECTED, debug, json)


def _fail(error: BaseException, text: str, code: int, debug: bool, json: bool) -> int:
    if debug:
        traceback.print_exception(error)
    if json:
        message, remedy = getattr(error, "message", str(error)), getattr(error, "remedy", "")
        kind = type(error).__name__
        print_json({"error": {"type": kind, "message": message, "remedy": remedy, "exit_code": code}})
    complain(text)
    return code


def _usage(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "graphprune"
    return f"{error.format_message().rstrip('.')} — see {command} --help"

"""``--install-completion`` and ``--show-completion``, for the shell that runs or for one that is named."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from graphprune.ground.errors import InputError

__all__ = ["OPTIONS", "completion"]

OPTIONS = ("--install-completion", "--show-completion")
SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
NAMES = {"prog_name": "graphprune", "complete_var": "_GRAPHPRUNE_COMPLETE"}


def completion(given: Sequence[str]) -> None:
    """Installs the completion, or prints its script.

    Args:
        given: one of `OPTIONS`, and perhaps the name of a shell.

    Raises:
        InputError: there is no completion for that shell, or the shell is not known; nothing has been changed.
    """
    option, *named = given
    shell = named[0] if named else _running()
    if shell not in SHELLS or len(named) > 1:
        what = f"there is no completion for {' '.join(named) or shell}" if shell else "the shell is not known"
        raise InputError(f"{what}; nothing was changed", f"name one: {option} {'|'.join(SHELLS)}")
    typer: Any = import_module("typer.completion")
    if option == OPTIONS[1]:
        print(typer.get_completion_script(shell=shell, **NAMES))
        return
    _, path = typer.install(shell=shell, **NAMES)
    print(f"The completion for {shell} is in {path}. It works in new terminals.")


def _running() -> str | None:
    """The shell in which this runs, where that can be found."""
    found: str | None = import_module("typer.completion")._get_shell_name()
    return found

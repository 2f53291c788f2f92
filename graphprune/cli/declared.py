"""Commands whose arguments and options are the fields of one dataclass; a TOML file may give them as well."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
from typer.models import ArgumentInfo

from graphprune.cli.config import read_config
from graphprune.cli.options import DISPLAY, OrNumber

__all__ = ["changed", "command_line", "run_settings", "takes"]

Options = TypeVar("Options")
Command = Callable[..., None]


def takes(options: type[Options]) -> Callable[[Callable[[Options], None]], Command]:
    """Makes a command of a function of ``options``, a dataclass whose fields are annotated as typer wants it.

    The command has an argument or option for every field, and ``--config FILE`` beside them.
    """

    def decorate(run: Callable[[Options], None]) -> Command:
        def command(config: Path | None, **given: Any) -> None:
            # of an option that is never given typer makes an empty tuple
            run(options(**{name: list(v) if isinstance(v, tuple) else v for name, v in given.items()}))

        command.__name__, command.__doc__ = run.__name__, run.__doc__
        command.__signature__ = Signature(_parameters(options))  # type: ignore[attr-defined]
        return command

    return decorate


def changed(options: Any, *panels: str) -> list[str]:
    """Options that are not at their defaults, of these panels of the help, as they are spelled."""
    shown = _panels(type(options))
    return [
        f"--{item.name.replace('_', '-')}"
        for item in fields(options)
        if shown[item.name] in panels and getattr(options, item.name) != _default(item)
    ]


def run_settings(options: Any) -> dict[str, Any]:
    """What a run depends on, by name: all but what is shown of it."""
    hints = get_type_hints(type(options), include_extras=True)
    found = {
        name: getattr(options, name) for name, shown in _panels(type(options)).items() if shown != DISPLAY
    }
    return {
        name: _number(value) if OrNumber in hints[name].__metadata__ else value
        for name, value in found.items()
    }


def command_line(options: Any, command: str) -> str:
    """The command that asks for the same, ready for a shell; options that have their defaults are left out."""
    hints = get_type_hints(type(options), include_extras=True)
    words = ["graphprune", command]
    for item in fields(options):
        given = hints[item.name].__metadata__[0]
        value = getattr(options, item.name)
        if given.rich_help_panel == DISPLAY or value == _default(item):
            continue
        option = [] if isinstance(given, ArgumentInfo) else [f"--{item.name.replace('_', '-')}"]
        for one in value if isinstance(value, list) else [value]:
            words += option if isinstance(one, bool) else [*option, str(one)]
    return shlex.join(words)


def _parameters(options: type) -> list[Parameter]:
    kinds = get_type_hints(options, include_extras=True)
    given = [
        Parameter(item.name, Parameter.KEYWORD_ONLY, default=_default(item), annotation=kinds[item.name])
        for item in fields(options)
    ]
    return [*given, Parameter("config", Parameter.KEYWORD_ONLY, default=None, annotation=_config(options))]


def _config(options: type) -> Any:
    panels, hints = _panels(options), get_type_hints(options, include_extras=True)
    kinds = {
        name: float | kind if OrNumber in hints[name].__metadata__ else kind
        for name, kind in get_type_hints(options).items()
        if panels[name] != DISPLAY
    }

    def read(context: typer.Context, path: Path | None) -> Path | None:
        if path is not None:
            context.default_map = read_config(path, kinds)
        return path

    option = typer.Option(
        "--config",
        metavar="FILE",
        callback=read,
        is_eager=True,  # before the others, whose defaults it gives
        help="A TOML file that gives arguments and options; those given here go before its own. Every result holds "
        "one, shrink.toml.",
    )
    return Annotated[Path | None, option]


def _number(text: str | None) -> float | str | None:
    """The number that a text is, or else the text."""
    for kind in (int, float):
        with suppress(TypeError, ValueError):
            return kind(text)  # type: ignore[arg-type]
    return text


def _panels(options: type) -> dict[str, str | None]:
    """Where the help shows each parameter."""
    hints = get_type_hints(options, include_extras=True)
    return {item.name: hints[item.name].__metadata__[0].rich_help_panel for item in fields(options)}


def _default(item: Field[Any]) -> Any:
    if item.default_factory is not MISSING:
        return item.default_factory()
    return Parameter.empty if item.default is MISSING else item.default

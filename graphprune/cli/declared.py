"""Commands whose arguments and options are the fields of one dataclass; a TOML file may give them as well.

A field ``asked`` stands for the options that another dataclass declares, see `graphprune.ground.options`. It holds what
was typed of them.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
from typer.models import ArgumentInfo

from graphprune.cli.config import read_config
from graphprune.cli.options import DISPLAY, OrNumber
from graphprune.ground.options import Option, declarations

__all__ = ["asked_options", "changed", "command_line", "run_settings", "takes"]

Request = TypeVar("Request")
Command = Callable[..., None]
ASKED = "asked"


def asked_options(options: type) -> Any:
    """The field ``asked`` of a dataclass, for the options that ``options`` declares."""
    return field(default_factory=dict, metadata={ASKED: options})


@dataclass(frozen=True)
class _Entry:
    """One argument or option: its name, what typer knows of it, its default, and its type in a file."""

    name: str
    kind: Any
    default: Any

    @property
    def typer(self) -> Any:
        return self.kind.__metadata__[0]

    @property
    def panel(self) -> str | None:
        return self.typer.rich_help_panel

    @property
    def is_argument(self) -> bool:
        return isinstance(self.typer, ArgumentInfo)

    @property
    def takes_numbers(self) -> bool:
        """A file may give a number where the command line takes a text."""
        return OrNumber in self.kind.__metadata__

    @property
    def spelled(self) -> str:
        return f"--{self.name.replace('_', '-')}"


def takes(request: type[Request]) -> Callable[[Callable[[Request], None]], Command]:
    """Makes a command of a function of ``request``, a dataclass whose fields are annotated as typer wants it.

    The command has an argument or option for every field, and ``--config FILE`` beside them.
    """
    own = {item.name for item in fields(request)}  # type: ignore[arg-type]

    def decorate(run: Callable[[Request], None]) -> Command:
        def command(config: Path | None, **given: Any) -> None:
            # of an option that is never given typer makes an empty tuple
            values = {name: list(v) if isinstance(v, tuple) else v for name, v in given.items()}
            asked = {name: values.pop(name) for name in list(values) if name not in own}
            run(request(**values, **({ASKED: asked} if ASKED in own else {})))

        command.__name__, command.__doc__ = run.__name__, run.__doc__
        command.__signature__ = Signature(_parameters(request))  # type: ignore[attr-defined]
        return command

    return decorate


def changed(request: Any, *panels: str) -> list[str]:
    """Options that are not at their defaults, of these panels of the help, as they are spelled."""
    values = _values(request)
    return [e.spelled for e in _entries(type(request)) if e.panel in panels and values[e.name] != e.default]


def run_settings(request: Any) -> dict[str, Any]:
    """What a run depends on, by name: all but what is shown of it."""
    values = _values(request)
    return {
        entry.name: _number(values[entry.name]) if entry.takes_numbers else values[entry.name]
        for entry in _entries(type(request))
        if entry.panel != DISPLAY
    }


def command_line(request: Any, command: str) -> str:
    """The command that asks for the same, ready for a shell; options that have their defaults are left out."""
    words, values = ["graphprune", command], _values(request)
    for entry in _entries(type(request)):
        value = values[entry.name]
        if entry.panel == DISPLAY or value == entry.default:
            continue
        option = [] if entry.is_argument else [entry.spelled]
        for one in value if isinstance(value, list) else [value]:
            words += option if isinstance(one, bool) else [*option, str(one)]
    return shlex.join(words)


def _values(request: Any) -> Mapping[str, Any]:
    own = {item.name: getattr(request, item.name) for item in fields(request)}
    defaults = {entry.name: entry.default for entry in _entries(type(request))}
    return {**defaults, **own, **own.pop(ASKED, {})}


def _entries(request: type) -> list[_Entry]:
    hints, found = get_type_hints(request, include_extras=True), []
    for item in fields(request):
        if item.name == ASKED:
            found += [
                _Entry(
                    option.spelled or name, _typed(option.spelled or name, option), _shown(default, option)
                )
                for name, default, option in declarations(item.metadata[ASKED])
                if option.typed is not None
            ]
            continue
        default = Parameter.empty if item.default is MISSING else item.default
        default = default if item.default_factory is MISSING else item.default_factory()
        found.append(_Entry(item.name, hints[item.name], default))
    return found


def _typed(name: str, option: Option) -> Any:
    """An option as typer wants it."""
    info = typer.Option(
        f"--{name.replace('_', '-')}",
        metavar=option.shown,
        help=option.help,
        rich_help_panel=option.panel,
        show_default=option.typed != list[str],
    )
    return Annotated[option.typed, info, OrNumber] if option.number else Annotated[option.typed, info]


def _shown(default: Any, option: Option) -> Any:
    """The default, in the type that the command line has."""
    if option.typed == list[str]:
        return []
    return str(default) if option.typed is str else default


def _parameters(request: type) -> list[Parameter]:
    given = [
        Parameter(entry.name, Parameter.KEYWORD_ONLY, default=entry.default, annotation=entry.kind)
        for entry in _entries(request)
    ]
    config = Parameter("config", Parameter.KEYWORD_ONLY, default=None, annotation=_config(request))
    return [*given, config]


def _config(request: type) -> Any:
    kinds = {
        entry.name: float | entry.kind.__origin__ if entry.takes_numbers else entry.kind.__origin__
        for entry in _entries(request)
        if entry.panel != DISPLAY
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

"""Commands whose arguments and options the fields of a dataclass declare; a TOML file may give them as well.

How an option is declared, see `graphprune.ground.options`. A field of `asked_options` stands for the options that
another dataclass declares, and holds what was typed of them.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer

from graphprune.ground.documents import parse_toml, read_text
from graphprune.ground.errors import InputError
from graphprune.ground.options import Option, check_numbers, declarations

__all__ = [
    "DISPLAY",
    "REPLACED",
    "asked_options",
    "changed",
    "command_line",
    "named_options",
    "run_settings",
    "takes",
]

Request = TypeVar("Request")
ASKED, NAMED = "asked", "named"
# panels of the help: options on which no result depends, so that no file gives them
CONFIG_BYTES = 2**20  # of a configuration at most
DISPLAY, REPLACED = UNRECORDED = ("What is shown", "What is replaced")


def asked_options(options: type, without: Collection[str] = ()) -> Any:
    """A field of a dataclass that holds what was typed of the options that ``options`` declares.

    Args:
        without: options that are left out, since another field declares them too.
    """
    return field(default_factory=dict, metadata={ASKED: (options, frozenset(without))})


def named_options() -> Any:
    """The field ``named`` of a dataclass: which options were given, and not left at their defaults."""
    return field(default=frozenset(), metadata={NAMED: True})


@dataclass(frozen=True)
class _Entry:
    """One argument or option: its name, default and type on the command line, and its declaration."""

    name: str
    default: Any
    typed: Any
    option: Option

    @property
    def spelled(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    @property
    def parameter(self) -> Parameter:
        """It as typer wants it."""
        option = self.option
        names = [] if option.argument else [self.spelled, *filter(None, [option.short])]
        info = (typer.Argument if option.argument else typer.Option)(
            *names,
            metavar=option.shown,
            help=option.help,
            rich_help_panel=option.panel,
            show_default=self.typed != list[str],
            autocompletion=option.complete,
        )
        return _parameter(self.name, self.default, self.typed, info)


# read from the arguments by `failures.Commands`, so that it works before they are parsed
DEBUG = _Entry("debug", False, bool, Option("Show the traceback of an error.", DISPLAY))

TRUST = _Entry("trust", False, bool, Option("Run the files of Python that --config names."))
CONTEXT = Parameter("context", Parameter.KEYWORD_ONLY, annotation=typer.Context)


def takes(request: type[Request], run: Callable[[Request], None]) -> Callable[..., None]:
    """Makes a command of a function of ``request``, a dataclass of declared options.

    The command has an argument or option for every field, and the request's docstring as its help. There is always
    ``--debug``, and where the request is ``CONFIGURABLE`` also ``--config FILE`` and ``--trust``.
    """
    own = {item.name for item in fields(request)}  # type: ignore[arg-type]
    parts = _parts(request)
    entries = _entries(request)

    def command(
        context: typer.Context,
        debug: bool,
        config: Path | None = None,
        trust: bool = False,
        **given: Any,
    ) -> None:
        if config is not None and not trust:
            from graphprune.cli.trust import check_trust

            check_trust(
                config, {name: given[name] for name in given if _is_from(context, name, "DEFAULT_MAP")}
            )
        named = {name for name in given if not _is_from(context, name, "DEFAULT")}
        asked = {part: {name: given.pop(name) for name in names} for part, names in parts.items()}
        more = {NAMED: frozenset(named)} if NAMED in own else {}
        made = request(**given, **asked, **more)
        check_numbers(made)
        run(made)

    parameters = [CONTEXT, *(entry.parameter for entry in (*entries, DEBUG))]
    if getattr(request, "CONFIGURABLE", False):
        parameters += [_config(entries), TRUST.parameter]
    command.__doc__ = request.__doc__
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return command


def _is_from(context: typer.Context, name: str, where: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == where


def changed(request: Any, *panels: str) -> list[str]:
    """Options that are not at their defaults, of these panels of the help, as they are spelled."""
    return [
        entry.spelled
        for entry, value in _values(request)
        if entry.option.panel in panels and value != entry.default
    ]


def run_settings(request: Any) -> dict[str, Any]:
    """What a run depends on, by name: all but what is shown of it, and what it may replace."""
    return {entry.name: _number(value) if entry.option.number else value for entry, value in _values(request)}


def command_line(request: Any, command: str) -> str:
    """The command that asks for the same, ready for a shell; options that have their defaults are left out."""
    words = ["graphprune", command]
    for entry, value in _values(request):
        if value == entry.default:
            continue
        option = [] if entry.option.argument else [entry.spelled]
        for one in value if isinstance(value, list) else [value]:
            words += option if isinstance(one, bool) else [*option, str(one)]
    return shlex.join(words)


def _values(request: Any) -> Iterator[tuple[_Entry, Any]]:
    """What a run depends on, each with what was said of it."""
    said = dict(vars(request))
    for part in _parts(type(request)):
        said |= vars(request)[part]
    for entry in _entries(type(request)):
        if entry.option.panel not in UNRECORDED:
            value = said.get(entry.name, entry.default)
            yield entry, list(value) if isinstance(value, tuple) else value


def _entries(request: type) -> list[_Entry]:
    hints, found = get_type_hints(request), []
    for item in fields(request):
        if item.name == NAMED:
            continue
        if ASKED in item.metadata:
            found += _asked_entries(item.metadata)
        else:
            option = item.metadata["option"]
            typed = option.typed or hints[item.name]
            found.append(_Entry(item.name, _shown(item.default, typed), typed, option))
    return found


def _asked_entries(metadata: Mapping[str, Any]) -> list[_Entry]:
    options, without = metadata[ASKED]
    return [
        _Entry(option.spelled or name, _shown(default, option.typed), option.typed, option)
        for name, default, option in declarations(options)
        if option.typed is not None and name not in without
    ]


def _parts(request: type) -> dict[str, list[str]]:
    """Field of `asked_options` → the names of what it holds."""
    return {
        item.name: [entry.name for entry in _asked_entries(item.metadata)]
        for item in fields(request)
        if ASKED in item.metadata
    }


def _shown(default: Any, typed: Any) -> Any:
    """The default, in the type that the command line has."""
    if default is MISSING:
        return Parameter.empty
    if typed == list[str]:
        return []
    return str(default) if typed is str else default


def _config(entries: Iterable[_Entry]) -> Parameter:
    kinds = {
        entry.name: float | entry.typed if entry.option.number else entry.typed
        for entry in entries
        if entry.option.panel not in UNRECORDED
    }

    def read(context: typer.Context, path: Path | None) -> Path | None:
        if path is not None:
            context.default_map = _read_config(path, kinds)
        return path

    option = typer.Option(
        "--config",
        metavar="FILE",
        callback=read,
        is_eager=True,  # before the others, whose defaults it gives
        help="A TOML file that gives arguments and options; those given here go before its own. Every result holds "
        "one, shrink.toml.",
    )
    return _parameter("config", None, Path | None, option)


def _read_config(path: Path, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a file by the names of parameters.

    Args:
        kinds: the annotation of each parameter that a file may give.

    Raises:
        InputError: the file cannot be read, has a key that no parameter has, or a value of another type.
    """
    found = {key.replace("-", "_"): (key, value) for key, value in _toml(path).items()}
    for name, (key, value) in found.items():
        if name not in kinds:
            (near,) = get_close_matches(name, kinds, 1, 0.0)
            raise InputError(
                f"{path} has an unknown key {key!r}", f"did you mean {near.replace('_', '-')!r}?"
            )
        _check_kind(path, key, value, kinds[name])
    # typer takes for a text nothing but a text
    return {
        name: str(value) if isinstance(value, int | float) and str in get_args(kinds[name]) else value
        for name, (_, value) in found.items()
    }


def _toml(path: Path) -> dict[str, Any]:
    try:
        text = read_text(path, CONFIG_BYTES)
    except InputError as error:
        raise InputError(
            f"the configuration {path} cannot be read: {error.message}", "check the path"
        ) from error
    try:
        return parse_toml(text)
    except InputError as error:
        what = error.message.removeprefix("it ")
        raise InputError(f"the configuration {path} {what}", "correct that line") from error


def _check_kind(path: Path, key: str, value: Any, kind: Any) -> None:
    from pydantic import TypeAdapter, ValidationError

    try:
        # strict as JSON is: a text is a path, and a whole number a float, but neither "1" nor true a number
        TypeAdapter(kind).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Input ")
        raise InputError(
            f"{path}: {key} = {json.dumps(value, default=str)} {reason}", "correct it"
        ) from error


def _parameter(name: str, default: Any, typed: Any, info: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[typed, info])


def _number(text: str | None) -> float | str | None:
    """The number that a text is, or else the text."""
    for kind in (int, float):
        with suppress(TypeError, ValueError):
            return kind(text)  # type: ignore[arg-type]
    return text

"""How an option is declared: what it means, and how it is written outside of Python; and how shares are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from textwrap import fill
from typing import Any, TypeVar

from graphprune.ground.errors import InputError

__all__ = ["Option", "declarations", "documented", "helps", "option", "share"]

Options = TypeVar("Options")


@dataclass(frozen=True)
class Option:
    """What is said of an option beside its type.

    Args:
        help: what it means, for the command line's help and for Python's.
        detail: what Python's help says besides.
        panel: the part of the help that it stands in.
        shown: the placeholder of its value in the help, such as N; empty for a switch.
        typed: its type on the command line; None where only Python can give it.
        number: a file in TOML may give a number too, where ``typed`` is a text.
        spelled: its name on the command line, where that is not Python's.
        recorded: whether a plan records it as it is: "always", "changed" (where it is not the default), or empty.
        short: its one-letter name on the command line, such as -o.
        argument: it has no name on the command line, only a place.
        complete: what the shell may complete its value to, given how that begins.
    """

    help: str
    panel: str | None = None
    shown: str = ""
    typed: Any = None
    number: bool = False
    spelled: str = ""
    recorded: str = ""
    detail: str = ""
    short: str = ""
    argument: bool = False
    complete: Callable[[str], list[str]] | None = None


def option(default: Any, *declared: Any, **more: Any) -> Any:
    """A field of a dataclass, with what `Option` takes; ``default`` is `dataclasses.MISSING` where there is none."""
    return field(default=default, metadata={"option": Option(*declared, **more)})


def declarations(options: type) -> Iterator[tuple[str, Any, Option]]:
    """Name, default and declaration of every option of a dataclass, in their order."""
    for item in fields(options):
        if "option" in item.metadata:
            yield item.name, item.default, item.metadata["option"]


def helps(options: type) -> Iterator[str]:
    """Lines that say what every option means, for the part ``Args:`` of a docstring."""
    for name, _, option in declarations(options):
        text = f"{name}: {option.help} {option.detail}"
        yield fill(text, 116, initial_indent="    ", subsequent_indent="        ")


def documented(options: type[Options]) -> type[Options]:
    """Adds to the docstring of a dataclass what its options mean."""
    options.__doc__ = "\n".join((options.__doc__ or "", "", "Args:", *helps(options)))
    return options


def share(option: str, given: Any) -> float:
    """The number that ``given`` says: 0.5, "0.5" and "50%" are the same.

    Args:
        option: what the share is given for, for the message.

    Raises:
        InputError: it is no number.

    >>> share("macs", "50%")
    0.5
    """
    try:
        text = given.strip() if isinstance(given, str) else given
        if isinstance(text, str) and text.endswith("%"):
            return float(text[:-1]) / 100
        return float(text)
    except (TypeError, ValueError):
        raise InputError(f"{option}={given!r} is no share", "write it as 0.5 or 50%") from None

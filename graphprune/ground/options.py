"""How an option is declared: what it means, and how it is written outside of Python."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from textwrap import fill
from typing import Any, TypeVar

__all__ = ["Option", "declarations", "documented", "helps", "option"]

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
    """

    help: str
    panel: str | None = None
    shown: str = ""
    typed: Any = None
    number: bool = False
    spelled: str = ""
    recorded: str = ""
    detail: str = ""


def option(
    default: Any, help: str, panel: str | None = None, shown: str = "", typed: Any = None, **more: Any
) -> Any:
    """A field of a dataclass with its declaration, see `Option`."""
    return field(default=default, metadata={"option": Option(help, panel, shown, typed, **more)})


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

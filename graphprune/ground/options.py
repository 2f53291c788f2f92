"""How an option is declared: what it means, and how it is written outside of Python; and how shares are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from textwrap import fill
from typing import Any, TypeVar

from graphprune.ground.errors import InputError

__all__ = [
    "COUNTS",
    "FINITE",
    "SEEDS",
    "THREADS",
    "WORKERS",
    "Option",
    "Range",
    "among",
    "check_number",
    "check_numbers",
    "declarations",
    "documented",
    "helps",
    "option",
    "share",
]

Options = TypeVar("Options")
Range = tuple[int, int] | tuple[float, float]  # least and largest; of whole numbers where both are

COUNTS: Range = (1, 2**31 - 1)
SEEDS: Range = (0, 2**31)
THREADS: Range = (1, 1024)
WORKERS: Range = (0, 1024)
FINITE: Range = (-1e308, 1e308)


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
        within: of a number, the least and the largest; see `check_numbers`.
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
    within: Range | None = None


def option(default: Any, *declared: Any, **more: Any) -> Any:
    """A field of a dataclass, with what `Option` takes; ``default`` is `dataclasses.MISSING` where there is none."""
    return field(default=default, metadata={"option": Option(*declared, **more)})


def among(*names: str) -> Callable[[str], list[str]]:
    """What completes one of these names.

    >>> among("linear", "geometric")("g")
    ['geometric']
    """
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


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


def check_numbers(options: Any) -> None:
    """Checks the numbers of a dataclass of declared options, and makes them Python's; None is fine as the default.

    Raises:
        InputError: one is out of its range, see `check_number`.
    """
    for name, default, option in declarations(options):
        given = getattr(options, name)
        if option.within is not None and (given is not None or default is not None):
            object.__setattr__(options, name, check_number(name, given, option.within))


def check_number(name: str, given: Any, within: Range) -> Any:
    """``given`` as Python's own number, if it lies between the two of ``within``, and is whole where both of these are.

    Raises:
        InputError: it is not.

    >>> check_number("seed", 7, SEEDS)
    7
    """
    least, most = within
    whole = isinstance(least, int) and isinstance(most, int)
    kind = ("a positive whole number" if least == 1 else "a whole number") if whole else "a number"
    fits = isinstance(given, Integral if whole else Real) and not isinstance(given, bool)
    if not fits:
        raise InputError(f"{name}={given!r} is not {kind}", f"give {name}={least} or more")
    if not least <= given <= most:  # neither is "not a number"
        if whole and given < least <= 1:
            raise InputError(f"{name}={given} is not {kind}", f"give {name}={least} or more")
        said, low, high = (f"{number}" if whole else f"{number:g}" for number in (given, least, most))
        raise InputError(f"{name}={said} is out of range", f"it lies between {low} and {high}")
    return given if isinstance(given, int | float) else (int if whole else float)(given)


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
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{option}={given!r} is no share", "write it as 0.5 or 50%") from None

"""The option ``dynamic``: whether sizes of the inputs may vary, and what the user calls them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from keyword import iskeyword
from typing import Any

from graphprune.ground.errors import InputError

__all__ = ["AUTO", "Declared", "Dynamic", "dynamic_text", "read_dynamic"]

AUTO = "auto"  # whatever the model lets vary
NONE = "none"  # how a text says False

Dynamic = str | bool | Mapping[str, Mapping[int, str]]


class Declared(dict[str, Mapping[int, str]]):
    """The sizes that vary by the word of a file, with names, or without ("").

    A size that the file lets vary and its operators do not is fixed; others do not vary.
    """


_REMEDY = f"write it as x:2=height, or give {AUTO}, or {NONE} for the sizes of the example alone"


def read_dynamic(given: Any) -> Dynamic:
    """``given`` in one form: "auto", False, or the names of dimensions by input and dimension.

    Args:
        given: one of these; or a text such as "x:2=height,x:3=width", or "none", as the command line has it.

    Raises:
        InputError: it is none of these, or a name cannot be one.

    >>> read_dynamic("x:2=height,past.0:-1=length"), read_dynamic("none")
    ({'x': {2: 'height'}, 'past.0': {-1: 'length'}}, False)
    """
    if isinstance(given, Declared):
        return given
    if given is False or given == NONE:
        return False
    if given == AUTO:
        return AUTO
    return _collected(_said(given)) or AUTO


def dynamic_text(dynamic: Dynamic) -> str:
    """What `read_dynamic` reads as the same.

    >>> dynamic_text({"x": {2: "height", 3: "width"}}), dynamic_text(False), dynamic_text("auto")
    ('x:2=height,x:3=width', 'none', 'auto')
    """
    if isinstance(dynamic, Mapping):
        return ",".join(
            f"{key}:{dim}={name}" for key, names in dynamic.items() for dim, name in names.items()
        )
    return dynamic if isinstance(dynamic, str) else NONE


def _said(given: Any) -> Iterator[tuple[str, int, str]]:
    """Input, dimension and name, one after the other."""
    if isinstance(given, str):
        yield from map(_parsed, given.split(","))
    elif isinstance(given, Mapping):
        for key, names in given.items():
            if not isinstance(names, Mapping):
                raise InputError(f"dynamic[{key!r}] is {names!r}", "give names by dimension: {2: 'height'}")
            yield from ((str(key), dim, name) for dim, name in names.items())
    else:
        raise InputError(
            f"dynamic={given!r} says no sizes", "give 'auto', False, or names such as {'x': {2: 'height'}}"
        )


def _parsed(text: str) -> tuple[str, int, str]:
    place, equals, name = text.strip().rpartition("=")
    key, colon, dim = place.rpartition(":")
    try:
        number = int(dim)
    except ValueError:
        equals = ""
    if not (key and colon and equals):
        raise InputError(f"dynamic {text!r} is not INPUT:DIM=NAME", _REMEDY)
    return key, number, name


def _collected(said: Iterable[tuple[str, int, str]]) -> dict[str, dict[int, str]]:
    found: dict[str, dict[int, str]] = {}
    for key, dim, name in said:
        if isinstance(dim, bool) or not isinstance(dim, int):
            raise InputError(f"dynamic names dimension {dim!r} of {key}", "number dimensions from 0")
        if not isinstance(name, str) or not name.isidentifier() or iskeyword(name):
            raise InputError(
                f"dynamic calls {key}[{dim}] {name!r}, which is no name", "use one such as height"
            )
        names = found.setdefault(key, {})
        if names.setdefault(dim, name) != name:
            raise InputError(
                f"dynamic calls {key}[{dim}] both {names[dim]} and {name}", "give each dimension one name"
            )
    return found

"""Documents that may come from anyone: regular files of bounded size, with JSON or TOML of bounded depth in them.

Each kind of document has one schema, a `TypedDict` beside what it is read into, and is read here, once.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterable
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from graphprune.ground.errors import InputError, first_line

__all__ = [
    "DEPTH",
    "LARGEST",
    "check_regular",
    "fitted",
    "machine_memory",
    "named",
    "parse_json",
    "parse_toml",
    "read_json",
    "read_text",
]

LARGEST = 64 * 2**20  # bytes of a document; the plan of a model with a million units takes about 20 MB
DEPTH = 64  # of lists and tables in one another
# commands to the terminal on which a message shows them, and what no terminal can show
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


Item = TypeVar("Item")


def check_regular(path: Path, largest: float = math.inf) -> None:
    """Refuses what is not a file with an end: a FIFO and a device can block for ever, or never end.

    Args:
        largest: the size, in bytes, that is allowed.

    Raises:
        InputError: it is no regular file, or larger; the message says only why.
        OSError: there is no such file, or it cannot be looked at.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise InputError("it is a directory")
    if not stat.S_ISREG(found.st_mode):
        raise InputError("it is no regular file, but a pipe or a device")
    if found.st_size > largest:
        raise InputError(f"it has {found.st_size:,} bytes, more than {int(largest):,}")


def machine_memory() -> float:
    """Bytes of memory that this machine has; infinite where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return math.inf


def read_text(path: Path, largest: int = LARGEST) -> str:
    """The text of a regular file.

    Raises:
        InputError: it cannot be read; the message says only why.
    """
    try:
        check_regular(path, largest)
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(error.strerror or str(error)) from error
    except ValueError as error:
        raise InputError("it is not text") from error


def named(path: Path, read: Callable[[], Item]) -> Item:
    """What ``read`` gives of a file that a command cannot do without: the message names it.

    Raises:
        InputError: as ``read``.
    """
    try:
        return read()
    except InputError as error:
        remedy = "give a directory that `graphprune shrink` wrote"
        raise InputError(f"{path} cannot be read: {error.message}", remedy) from error


def parse_json(text: str, bits: int = 63) -> Any:
    """The value that a JSON text says.

    Args:
        bits: that a whole number may have.

    Raises:
        InputError: it is not JSON as RFC 8259 has it (NaN and infinities are not), says a key twice, or goes beyond
            the bounds of `DEPTH` and of numbers, or has control characters.
    """
    return _parsed("JSON", lambda: json.loads(text, object_pairs_hook=_once, parse_constant=_no_number), bits)


def parse_toml(text: str) -> dict[str, Any]:
    """The table that a TOML text says.

    Raises:
        InputError: it is not TOML, or as `parse_json`; numbers are bounded by the options that they are for.
    """
    import tomlkit

    found: dict[str, Any] = _parsed("TOML", lambda: tomlkit.parse(text).unwrap(), None)
    return found


def read_json(path: Path, schema: type) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        InputError: the file cannot be read, or holds something else; the message does not name it.
    """
    return fitted(schema, parse_json(read_text(path)))


def fitted(schema: type, found: Any) -> dict[str, Any]:
    """``found`` itself, where it fits a `TypedDict`, which says all kinds and bounds; nothing is converted.

    Raises:
        InputError: it does not fit; the message says where and why.
    """
    from pydantic import ValidationError

    if not isinstance(found, dict):
        raise InputError("it is not a JSON object")
    try:
        _adapter(schema).validate_python(found, strict=True)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, wrong["loc"]))[:80]
        if wrong["type"] == "missing":
            raise InputError(f"it has no {place}") from error
        raise InputError(f"{place}: {wrong['msg'][:120]}") from error
    return found


@cache
def _adapter(schema: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(schema)


def _parsed(kind: str, parse: Callable[[], Any], bits: int | None) -> Any:
    try:
        found = parse()
        _check_bounds(found, bits)
        return found
    except RecursionError as error:
        raise InputError(f"it has more than {DEPTH} levels") from error
    except Exception as error:  # whatever a damaged text makes a parser raise
        raise InputError(f"it is not {kind}: {first_line(error, 120)}") from error


def _check_bounds(found: Any, bits: int | None) -> None:
    """Level by level, since what is deep would exhaust whatever goes down into it.

    Raises:
        ValueError: a number is out of range, a text has control characters, or there are too many levels.
    """
    level = [found]
    for _ in range(DEPTH):
        for item in level:
            if isinstance(item, str):
                if _CONTROL.search(item):
                    raise ValueError(f"a control character in {item[:40]!r}")
            elif isinstance(item, int | float) and not _in_range(item, bits):
                raise ValueError(f"the number {str(item)[:20]} is out of range")
        level = [child for item in level for child in _children(item)]
        if not level:
            return
    raise ValueError(f"more than {DEPTH} levels")


def _in_range(number: float, bits: int | None) -> bool:
    if bits is None:
        return True
    return math.isfinite(number) if isinstance(number, float) else number.bit_length() <= bits


def _children(item: Any) -> Iterable[Any]:
    if isinstance(item, dict):
        return chain(item, item.values())
    return item if isinstance(item, list) else ()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:40]!r} stands there twice")
    return table


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")

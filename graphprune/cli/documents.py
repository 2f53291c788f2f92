"""Documents of a result directory: texts, and JSON files that hold one object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphprune.ground.errors import InputError

__all__ = ["read_document", "read_object", "read_text"]


def read_text(path: Path, named: str = "", remedy: str = "") -> str:
    """The text of a file.

    Raises:
        InputError: it cannot be read; the message says only why where the file is not ``named``.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError(f"{named} cannot be read: {reason}" if named else reason, remedy) from error


def read_object(path: Path) -> Mapping[str, Any]:
    """The JSON object that a file holds.

    Raises:
        InputError: it holds something else, or as `read_text`.
    """
    try:
        found = json.loads(read_text(path))
    except ValueError as error:
        raise InputError(f"it is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError("it is not a JSON object")
    return found


def read_document(path: Path) -> Mapping[str, Any]:
    """As `read_object`, of a file that a command cannot do without: the message names it."""
    try:
        return read_object(path)
    except InputError as error:
        raise InputError(
            f"{path} cannot be read: {error.message}", "give a directory that `graphprune shrink` wrote"
        ) from error

"""``--config FILE``: the arguments and options of a command from a TOML file, under their own names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from graphprune.ground.errors import InputError

__all__ = ["read_config"]


def read_config(path: Path, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a file by the names of parameters.

    Args:
        kinds: the annotation of each parameter that a file may give.

    Raises:
        InputError: the file cannot be read, has a key that no parameter has, or a value of another type.
    """
    found = {key.replace("-", "_"): (key, value) for key, value in _read(path).items()}
    for name, (key, value) in found.items():
        if name not in kinds:
            (near,) = get_close_matches(name, kinds, 1, 0.0)
            raise InputError(
                f"{path} has an unknown key {key!r}", f"did you mean {near.replace('_', '-')!r}?"
            )
        _check(path, key, value, kinds[name])
    # typer takes for a text nothing but a text
    return {
        name: str(value) if isinstance(value, int | float) and str in get_args(kinds[name]) else value
        for name, (_, value) in found.items()
    }


def _read(path: Path) -> dict[str, Any]:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        return tomlkit.parse(path.read_text(encoding="utf-8")).unwrap()
    except OSError as error:
        raise InputError(
            f"the configuration {path} cannot be read: {error.strerror}", "check the path"
        ) from error
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise InputError(f"the configuration {path} is not TOML: {error}", "correct that line") from error


def _check(path: Path, key: str, value: Any, kind: Any) -> None:
    from pydantic import TypeAdapter, ValidationError

    try:
        # strict as JSON is: a text is a path, and a whole number a float, but neither "1" nor true a number
        TypeAdapter(kind).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Input ")
        raise InputError(
            f"{path}: {key} = {json.dumps(value, default=str)} {reason}", "correct it"
        ) from error

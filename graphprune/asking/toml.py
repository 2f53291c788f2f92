"""shrink.toml and tune.toml of a result: the options of the command line that make the same result again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from graphprune.asking.options import Options
from graphprune.ground.options import declarations

__all__ = ["read_settings", "settings_text", "spelled"]

NOTE = "graphprune {0} --config {0}.toml -o DIR repeats this run."
PYTHON = "It was made in Python: add the model, and calibration and loss if it had any."


def settings_text(settings: Mapping[str, Any], command: str = "shrink") -> str:
    """TOML with the command line's names; what is None or empty is left out."""
    import tomlkit

    note = NOTE.format(command)
    notes = (note, PYTHON) if command == "shrink" and "model" not in settings else (note,)
    said = {
        name.replace("_", "-"): str(value) if isinstance(value, PurePath) else value
        for name, value in settings.items()
        if value is not None and value != []
    }
    return "".join(f"# {note}\n" for note in notes) + tomlkit.dumps(said)


def read_settings(path: Path) -> dict[str, Any]:
    """What `settings_text` wrote. An unreadable file has no settings: it is for people, and nothing depends on it."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        return tomlkit.parse(path.read_text(encoding="utf-8")).unwrap()
    except (OSError, UnicodeDecodeError, TOMLKitError):
        return {}


def spelled(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of Python as the command line takes them, by its names; those that it has not are left out."""
    found = {}
    for name, _, option in declarations(Options):
        if name in options and option.typed is not None:
            value = options[name]
            if isinstance(value, Mapping):
                value = [f"{key}={number}" for key, number in value.items()]
            elif isinstance(value, str) and option.typed == list[str]:
                value = [value]
            elif option.typed == list[str]:
                value = [item if isinstance(item, str) else ",".join(item) for item in value]
            found[option.spelled or name] = list(value) if isinstance(value, tuple) else value
    return found

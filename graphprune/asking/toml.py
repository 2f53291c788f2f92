"""shrink.toml and tune.toml of a result: the options of the command line that make the same result again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

__all__ = ["read_settings", "settings_of", "settings_text"]

# of a plan's request: what was given as an object of Python, or found on the way, and not as an option
RECORDED = {"budget", "ratios", "multiples", "calibration", "loss", "unjudged", "rounds", "schedule"}
# names of Python's arguments that the command line, where they are given one by one, calls otherwise
RENAMED = {"outputs": "keep_output"}
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


def settings_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request that a plan records, as options by name."""
    ratios = [f"{pattern}={share}" for pattern, share in request.get("ratios", {}).items()]
    plain = {RENAMED.get(name, name): value for name, value in request.items() if name not in RECORDED}
    repaired = {"repair": True} if request.get("repair") else {}
    return {**request.get("budget", {}), **plain, **repaired, "layer_ratio": ratios}

"""Whether the files of Python that a configuration names may be run, since somebody else may have written it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphprune.cli.user_file import named_in
from graphprune.exporting.directory import RESULT_FILES
from graphprune.ground.errors import InputError

__all__ = ["check_trust"]


def check_trust(config: Path, settings: Mapping[str, Any]) -> None:
    """Refuses a configuration that came with a result, or that leads elsewhere, where it names a file to run.

    Args:
        settings: what it says by the names of options; those that were typed in their place are not among them.

    Raises:
        InputError: it would run a file that the user has not named.
    """
    for name, value in settings.items():
        for text in value if isinstance(value, list | tuple) else [value]:
            file = named_in(text) if isinstance(text, str) else None
            if file is not None and (why := _reason(config, file[0])):
                option = "MODEL" if name == "model" else f"--{name.replace('_', '-')}"
                raise InputError(
                    f"{config} would run {file[0]}, and {why}",
                    f"add --trust if you trust that file, or name it yourself: {option} {text}",
                )


def _reason(config: Path, file: Path) -> str:
    """Why the user may not know the file; empty where it is one of the folder that is worked in."""
    here, folder, file = Path.cwd().resolve(), config.resolve().parent, file.resolve()
    if any((folder / name).exists() for name in RESULT_FILES - {"__pycache__", config.name}):
        return "the configuration came with a result"
    if not file.is_relative_to(here):
        return "it is outside of the current folder"
    return "it came with the configuration" if folder != here and file.is_relative_to(folder) else ""

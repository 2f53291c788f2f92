"""Errors that nobody has foreseen: whose they are, and a file with all that a report of one needs."""

from __future__ import annotations

import errno
import os
import platform
import shlex
import site
import sys
import sysconfig
import tempfile
import traceback
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType

from graphprune.ground.errors import GraphpruneError, InputError, first_line
from graphprune.ground.files import Unwritable, cached

__all__ = ["UNFORESEEN", "Unforeseen", "explained"]

UNFORESEEN = 1  # exit code
PACKAGES = ("graphprune", "torch", "onnx", "onnxruntime", "onnxscript", "numpy")
OURS = tuple(f"{Path(__file__).parents[2] / name}{os.sep}" for name in ("graphprune", "models_zoo"))
_LIBRARIES = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")} | {
    *site.getsitepackages()
}
_MEMORY = ("can't allocate memory", "out of memory", "bad allocation")
_LESS = "take a smaller batch, model or input, or a machine with more memory"


class Unforeseen(GraphpruneError):
    """An error of ours."""

    exit_code = UNFORESEEN


def explained(error: Exception, command: Sequence[str]) -> GraphpruneError:
    """The error to show: of the machine, or of the user's own code, with its place; or else of ours, kept in a file.

    Args:
        command: what was typed after the program's name.
    """
    if isinstance(error, GraphpruneError):
        return error
    said = f"{type(error).__name__}: {first_line(error, 300)}"
    if isinstance(error, MemoryError) or any(word in str(error) for word in _MEMORY):
        return InputError(f"there is not enough memory ({said})", _LESS)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return Unwritable(Path(error.filename or tempfile.gettempdir()), error)
    if place := _place_of_user(error.__traceback__):
        return InputError(f"{place} fails: {said}", "correct it, or see the whole traceback with --debug")
    what = f"graphprune has failed, and this is a mistake of its own ({said})"
    return Unforeseen(what, f"please report it, with the file {_kept(error, command)}")


def _place_of_user(trace: TracebackType | None) -> str:
    """``file:line`` of the user's code, where that called what failed and nothing of ours did after it; or empty."""
    for frame in reversed(traceback.extract_tb(trace)):
        if frame.filename.startswith(OURS):
            return ""
        path = Path(frame.filename)
        if path.suffix == ".py" and path.is_file() and not _of_library(path):
            return f"{frame.filename}:{frame.lineno}"
    return ""


def _of_library(path: Path) -> bool:
    return any(path.resolve().is_relative_to(Path(folder).resolve()) for folder in _LIBRARIES if folder)


def _kept(error: Exception, command: Sequence[str]) -> str:
    """The file with the report, in the user's cache; where that cannot be written, for temporary files."""
    now = datetime.now(timezone.utc)
    text = "\n".join(
        [
            f"graphprune {shlex.join(command)}",
            f"{now:%Y-%m-%d %H:%M:%S} UTC, {platform.platform()}, Python {sys.version.split()[0]}",
            ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
            "",
            *traceback.format_exception(error),
        ]
    )
    for folder in (cached("errors"), Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w",
                encoding="utf-8",
                dir=folder,
                prefix=f"graphprune-{now:%Y%m%d-%H%M%S}-",
                suffix=".txt",
                delete=False,
            ) as file:
                file.write(text)
            return file.name
        except OSError:
            continue
    return "that --debug shows: none could be written here"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"

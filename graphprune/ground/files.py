"""Files that are either complete or as they were, and those that are kept for the next run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from graphprune.ground.errors import InputError

__all__ = ["CACHE", "cached", "keep", "write_text", "written_aside"]

CACHE = "GRAPHPRUNE_CACHE"  # environment variable: another folder than the user's cache


def cached(name: str) -> Path:
    """Where a file that took long to make is kept, if it has been made on this machine."""
    return Path(os.environ.get(CACHE) or platformdirs.user_cache_dir("graphprune", appauthor=False), name)


def keep(path: Path, text: str) -> None:
    """Writes a file of the cache; one that cannot be written is no loss, since it is made again."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as draft:
            draft.write_text(text, encoding="utf-8")


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A draft for the body to write, which then takes the place of ``path``; if the body fails, nothing has changed.

    The draft lies in a new folder beside ``path``, on the same disk, so that taking its place is one step.

    Raises:
        OSError: the folder of ``path`` cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        draft = Path(folder, path.name)
        yield draft
        os.replace(draft, path)


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` to ``path``; an earlier file is replaced only when the new one is complete.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        with written_aside(path) as draft:
            draft.write_text(text, encoding="utf-8")
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{path} cannot be written: {why}", "choose a writable place") from error

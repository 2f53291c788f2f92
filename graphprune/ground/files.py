"""Files that are either complete or as they were."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from graphprune.ground.errors import InputError

__all__ = ["write_text", "written_aside"]


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

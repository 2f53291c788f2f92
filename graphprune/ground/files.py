"""Files that are either complete or as they were, those that are kept for the next run, and what says why not."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from graphprune.ground.drafts import drafted
from graphprune.ground.errors import InputError

__all__ = [
    "CACHE",
    "Unwritable",
    "cached",
    "flush",
    "keep",
    "scratch",
    "write_text",
    "writing",
    "written_aside",
]

CACHE = "GRAPHPRUNE_CACHE"  # environment variable: another folder than the user's cache

# number of the system's error → what is the matter, and what to do
_ELSEWHERE = "choose a writable place"
_REASONS: Mapping[int, tuple[str, str]] = {
    errno.EDQUOT: (
        "your quota on its disk is used up",
        "delete something, or choose a place on another disk",
    ),
    errno.EROFS: ("its disk can only be read", "choose a place on another disk"),
    errno.EFBIG: (
        "a file becomes larger than the system allows",
        "raise the limit (ulimit -f), or the disk's own",
    ),
    errno.EACCES: ("no permission to write there", _ELSEWHERE),
    errno.EPERM: ("no permission to write there", _ELSEWHERE),
}


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

    Raises:
        OSError: the folder of ``path`` cannot be written.
    """
    with drafted(path) as draft:
        yield draft
        flush(draft)
        os.replace(draft, path)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for files that nobody keeps, where the system has such.

    Raises:
        Unwritable: it cannot be made, or the body has an OSError.
    """
    place = Path(tempfile.gettempdir())
    with writing(place), drafted(place / "graphprune") as folder:
        folder.mkdir()
        yield folder


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` to ``path``; an earlier file is replaced only when the new one is complete.

    Raises:
        InputError: the file cannot be written.
    """
    with writing(path), written_aside(path) as draft:
        draft.write_text(text, encoding="utf-8")


def flush(path: Path) -> None:
    """Returns when a file, or all files below a folder, are on the disk: some disks say only then that they are full.

    Raises:
        OSError: they cannot be.
    """
    for each in [path, *(path.rglob("*") if path.is_dir() else ())]:
        if each.is_file():
            with each.open("rb+") as file:
                os.fsync(file.fileno())


class Unwritable(InputError):
    """A file or folder cannot be written.

    Args:
        place: it.
        error: what the system says.
    """

    def __init__(self, place: Path, error: OSError) -> None:
        self.place, self.error = place, error
        reason, remedy = _REASONS.get(error.errno or 0, (error.strerror or str(error), _ELSEWHERE))
        if error.errno == errno.ENOSPC:
            reason, remedy = _full(place), "delete something, or choose a place on another disk"
        super().__init__(f"{place} cannot be written: {reason}", remedy)


@contextmanager
def writing(place: Path, draft: Path | None = None) -> Iterator[None]:
    """The body writes ``place``; or its ``draft``, which is then not named to the user.

    Raises:
        Unwritable: in the place of an OSError.
    """
    try:
        yield
    except Unwritable as error:
        raise (Unwritable(place, error.error) if _within(error.place, draft) else error) from error.error
    except OSError as error:
        named = Path(error.filename) if draft and isinstance(error.filename, str) else None
        elsewhere = named if named and named.is_absolute() and not _within(named, draft) else None
        raise Unwritable(elsewhere or place, error) from error


def _within(path: Path, folder: Path | None) -> bool:
    return folder is not None and path.is_relative_to(folder)


def _full(place: Path) -> str:
    """Of a disk without space: its free bytes, or that it takes no more files."""
    folder = next(parent for parent in (place, *place.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if hasattr(os, "statvfs") and not os.statvfs(folder).f_favail:
        return "its disk can hold no more files"
    return f"its disk is full, {free / 1e6:.3g} MB are free"

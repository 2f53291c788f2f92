"""Drafts of files and folders: hidden beside their place until they are complete, and gone with the run that made them.

A draft lies in a folder of its own beside the place where it is to be, on the same disk, so that it gets there in one
step. A lock says that its run is alive: the system lets it go with the process, however that ends. What the dead have
left is taken away by the next run that writes in the same folder.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EEXIST, EINVAL, ENOENT, ENOLCK, ENOSYS, ENOTEMPTY, ENOTSUP, EXDEV
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["drafted", "put", "sweep"]

SUFFIX = ".draft"
LOCK, ASIDE = "lock", "aside"  # beside the draft: the lock of its run, and what stood in its place
_NAMES = re.compile(r"\..+\.\w{8}" + re.escape(SUFFIX))
_AT_WORKING_FOLDER, _EXCHANGE = -100, 2  # of Linux: AT_FDCWD, RENAME_EXCHANGE
_CANNOT = (EINVAL, ENOSYS, ENOTSUP, EXDEV, ENOENT)  # the disk does not know how, or nothing is there any more
_TAKEN = (EEXIST, ENOTEMPTY)
_NO_LOCKS = (EINVAL, ENOLCK, ENOSYS, ENOTSUP)


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """Where the body writes what is to be ``path``; it is gone afterwards, unless it has been moved or `put` there.

    Raises:
        OSError: the folder of ``path`` cannot be written.
    """
    sweep(path.parent)
    folder, lock = _locked_folder(path.parent, path.name)
    try:
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def put(draft: Path, place: Path) -> None:
    """Moves a folder that `drafted` gave to its place; another folder that is there makes way.

    On Linux the two change places in one step, on disks that know how (ext4, xfs, btrfs, tmpfs and others). Elsewhere
    there are two steps. A run that is killed between them leaves the place empty, and both folders beside it; the next
    `sweep` puts the new one there.

    Raises:
        OSError: it cannot be moved; ``place`` is as it was.
    """
    while not _moved(draft, place):
        if _exchanged(draft, place):
            return
        aside = draft.parent / ASIDE
        shutil.rmtree(aside, ignore_errors=True)  # another run was faster
        with suppress(FileNotFoundError):
            os.rename(place, aside)
        try:
            if _moved(draft, place):
                return
        except BaseException:
            with suppress(OSError):
                os.rename(aside, place)
            raise


def sweep(folder: Path) -> None:
    """Takes away drafts in ``folder`` whose runs have died, and ends what they could not end, see `put`."""
    with suppress(OSError):
        for entry in [entry for entry in os.scandir(folder) if _NAMES.fullmatch(entry.name)]:
            with suppress(OSError, Timeout):
                if entry.is_dir(follow_symlinks=False):
                    _swept(Path(entry.path))


def _swept(folder: Path) -> None:
    if not (folder / LOCK).exists():
        folder.rmdir()  # killed before there was a lock; what is not empty is not ours
        return
    with FileLock(folder / LOCK, timeout=0):
        name = folder.name.removeprefix(".").removesuffix(SUFFIX)[:-9]
        if (folder / ASIDE).exists() and not (folder.parent / name).exists():
            os.rename(folder / name, folder.parent / name)
        shutil.rmtree(folder)


def _locked_folder(parent: Path, name: str) -> tuple[Path, FileLock]:
    """A new folder, and the lock in it; on a disk that knows no locks it is not held, and no `sweep` dares to go on."""
    while True:
        folder = Path(tempfile.mkdtemp(SUFFIX, f".{name}.", parent))
        lock = FileLock(folder / LOCK, thread_local=False)  # a finalizer may let it go, in any thread
        try:
            with suppress(FileNotFoundError, FileExistsError, Timeout):  # a sweep came before the lock did
                lock.acquire(timeout=0)
                return folder, lock
        except BaseException as error:
            if isinstance(error, OSError) and error.errno in _NO_LOCKS:
                return folder, lock
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _moved(draft: Path, place: Path) -> bool:
    """Whether the draft is at its place now, which was free, or an empty folder."""
    try:
        os.rename(draft, place)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


def _exchanged(one: Path, other: Path) -> bool:
    """Whether the two have changed places in one step."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    if rename(_AT_WORKING_FOLDER, names[0], _AT_WORKING_FOLDER, names[1], _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(other))

"""Bounds on the memory that this process takes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["bounded_memory", "give_back_freed"]

_FROM_THE_SYSTEM = -3  # of glibc: M_MMAP_THRESHOLD
_LARGE = 4 * 2**20
_STATUS = Path("/proc/self/status")  # where Linux says what a process has


@contextmanager
def bounded_memory(size: int) -> Iterator[None]:
    """While it lasts, this process gets at most ``size`` bytes more than it has: what asks for more fails.

    On other systems than Linux nothing is bounded.
    """
    if not _STATUS.exists():
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _data() + size
    bounds = [bound for bound in (wanted, soft, hard) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def give_back_freed() -> None:
    """From here on, blocks of 4 MiB or more go back to the system as soon as they are freed.

    glibc keeps those of up to 32 MiB for later, and lets small blocks that last split them: what is left is too small
    for the next weight of that size. A run that reads 2 GB of weights one after the other came to hold all of them so.
    Where there is no glibc, nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_FROM_THE_SYSTEM, _LARGE)


def _data() -> int:
    """Bytes of memory of its own that this process has."""
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024

"""A bound on what a received file can make this process take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["bounded_memory"]

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


def _data() -> int:
    """Bytes of memory of its own that this process has."""
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024

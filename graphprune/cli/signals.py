"""Ctrl-C and termination: they end a command by an exception, so that half-written files are taken away."""

from __future__ import annotations

import signal
from types import FrameType

__all__ = ["exit_code", "install", "stop_if_interrupted"]

# A library may turn the exception into another one, or lose it, so that it is remembered here too.
_received: list[int] = []


def install() -> None:
    """Handles SIGINT and SIGTERM alike, and forgets those that have come."""
    _received.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def exit_code() -> int:
    """128 and the number of the signal that came, as shells count; 0 if none came."""
    return 128 + _received[-1] if _received else 0


def stop_if_interrupted() -> None:
    """Raises KeyboardInterrupt again where somebody has swallowed it."""
    if _received:
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt

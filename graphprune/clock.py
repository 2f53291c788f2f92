"""Wall seconds per stage, and who is told when a stage begins."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

__all__ = ["Clock", "Progress"]

Progress = Callable[[str], None]


class Clock:
    """Seconds per stage; tells the progress callback when a stage begins."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self._running = ("", 0.0)

    def __call__(self, stage: str) -> Clock:
        self._running = (stage, perf_counter())
        self.progress(stage)
        return self

    def __enter__(self) -> None:
        return

    def __exit__(self, *details: object) -> None:
        stage, start = self._running
        self.seconds[stage] = self.seconds.get(stage, 0.0) + perf_counter() - start

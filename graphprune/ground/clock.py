"""Wall seconds per stage, who is told when a stage begins, and how far it has come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from operator import length_hint
from time import perf_counter
from typing import TypeVar

__all__ = ["Clock", "Progress", "counted", "headed", "part", "told", "within"]

Progress = Callable[[str], None]
Item = TypeVar("Item")

_listener: ContextVar[Callable[[float], None] | None] = ContextVar("listener", default=None)


class Clock:
    """Seconds per stage; tells the progress callback when a stage begins."""

    def __init__(self, progress: Progress = lambda stage: None) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = perf_counter()
        self.progress(stage)
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + perf_counter() - start


def headed(progress: Progress, heading: str) -> Progress:
    """Tells of the same stages, as parts of what ``heading`` says.

    >>> headed(print, "macs 0.5")("verify")
    macs 0.5: verify
    """
    return lambda stage: progress(f"{heading}: {stage}")


@contextmanager
def told(listener: Callable[[float], None] | None) -> Iterator[None]:
    """While the body runs, ``listener`` hears how much of the running stage is done, from 0 to 1."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def part(done: float) -> None:
    """Tells the listener, if there is one, how much of the running stage is done, from 0 to 1."""
    if (listener := _listener.get()) is not None:
        listener(done)


@contextmanager
def within(start: float, end: float) -> Iterator[None]:
    """What the body tells counts from ``start`` to ``end``; after it, ``end`` is told."""
    outer = _listener.get()
    with told(None if outer is None else lambda done: outer(start + done * (end - start))):
        yield
    part(end)


def counted(items: Iterable[Item], total: int | None = None) -> Iterator[Item]:
    """Yields ``items`` and tells after each how many of ``total`` are done; steps may be counted within steps.

    >>> heard = []
    >>> with told(heard.append):
    ...     for _ in counted("ab"):
    ...         list(counted([1, 2]))
    [1, 2]
    [1, 2]
    >>> heard
    [0.25, 0.5, 0.5, 0.75, 1.0, 1.0]
    """
    total = length_hint(items) if total is None else total
    for number, item in enumerate(items):
        if not total:
            yield item
            continue
        with within(min(number / total, 1.0), min((number + 1) / total, 1.0)):
            yield item

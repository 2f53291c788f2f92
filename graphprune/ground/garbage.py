"""When Python looks for garbage: not while many objects are made that are all kept."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collected_later", "new_collected"]


@contextmanager
def collected_later() -> Iterator[None]:
    """Nothing is searched for garbage while the body runs, or the function that this decorates.

    A graph is made of hundreds of thousands of objects that point at each other. Each time their number has grown by a
    quarter Python walks through all of them, and through those of every library, to find next to nothing: that took a
    seventh of a whole shrink. What makes models again and again must not run so, since a model that was thrown away is
    only found by such a walk.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def new_collected() -> Iterator[None]:
    """While the body runs, only what is made in it is searched for garbage, not all that libraries hold.

    What became garbage before stays until the end: this is for programs, which begin with nothing but imports. Nothing
    is changed where something is left out of such searches already.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()

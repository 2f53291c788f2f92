"""Torch's exporters say much about every model, and print whole graphs where they fail; our errors say what matters."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

__all__ = ["unlogged"]


@contextmanager
def unlogged() -> Iterator[None]:
    """While the body runs, nothing is logged, warned of, or written to the error stream."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

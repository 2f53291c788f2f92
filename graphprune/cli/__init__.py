"""The command line. Importing it, and asking for help, imports none of the heavy libraries."""

from __future__ import annotations

import signal
import sys
from types import FrameType

__all__ = ["main"]


def main() -> None:
    """Runs the command line on ``sys.argv`` and exits."""
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        # a terminal that lacks a character must not cost the result
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    from graphprune.cli.app import app

    app()


def _terminate(number: int, frame: FrameType | None) -> None:
    """Leaves by an exception, so that half-written files are taken away."""
    sys.exit(128 + number)

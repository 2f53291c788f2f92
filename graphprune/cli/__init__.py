"""The command line. Importing it, and asking for help, imports none of the heavy libraries."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Runs the command line on ``sys.argv`` and exits."""
    from graphprune.cli.failures import install_signals

    install_signals()
    from graphprune.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        # a terminal that lacks a character must not cost the result
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    app()

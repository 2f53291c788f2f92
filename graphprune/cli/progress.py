"""Stages as they run: a spinner and the seconds on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from graphprune.cli.output import console
from graphprune.cli.signals import stop_if_interrupted

__all__ = ["Stages", "stages"]

# A spinner redraws itself from a thread of its own, which would disturb what is being measured.
MEASURED = {"time"}


class Stages:
    """A progress callback: each call says that the stage before has ended and the next one begins."""

    def __init__(self, shown: bool) -> None:
        # the stream itself, since exporting redirects sys.stderr for a while
        self.console = console(sys.stderr)
        self.wanted = shown
        self.shown = shown and self.console.is_terminal and not self.console.is_dumb_terminal
        self.live: Live | None = None
        self.stage = ""
        self.start = 0.0

    def __call__(self, stage: str) -> None:
        stop_if_interrupted()
        self.end("✓", "green")
        self.stage, self.start = stage, perf_counter()
        if not self.shown:
            return
        if stage in MEASURED:
            self.console.print(Text(f"… {stage}"), end="\r")
        else:
            self.live = self._spinner(stage)
            self.live.start()

    def _spinner(self, stage: str) -> Live:
        # not redirecting: what is silenced should stay so
        return Live(
            Spinner("dots", Text(stage)),
            console=self.console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def say(self, text: str, lasting: bool = False) -> None:
        """Says how far the running stage is; what is ``lasting`` is a line of its own where there is no terminal."""
        stop_if_interrupted()
        if self.live is not None:
            self.live.update(Spinner("dots", Text(f"{self.stage}  {text}")))
        elif lasting and self.wanted and not self.shown:
            self.console.print(Text(f"{self.stage}: {text}"))

    def end(self, mark: str, style: str) -> None:
        """Ends the running stage, if there is one."""
        if self.live is not None:
            self.live.stop()
            self.live = None
        if self.stage and self.shown:
            seconds = f"{perf_counter() - self.start:.1f} s"
            self.console.print(Text.assemble((mark, style), f" {self.stage:<32}", (f"{seconds:>8}", "dim")))
        self.stage = ""


@contextmanager
def stages(quiet: bool = False) -> Iterator[Stages]:
    """Shows stages on stderr while the body runs; a stage that an error ends is crossed out."""
    progress = Stages(not quiet)
    try:
        yield progress
    except BaseException:
        progress.end("✗", "red")
        raise
    progress.end("✓", "green")

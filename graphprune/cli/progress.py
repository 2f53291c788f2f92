"""Stages as they run: how far they have come and the time left on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from graphprune.cli.failures import stop_if_interrupted
from graphprune.cli.output import console
from graphprune.ground.clock import told

__all__ = ["Stages", "stages"]

# A spinner redraws itself from a thread of its own, which would disturb what is being measured.
MEASURED = {"time"}
REDRAWN = 0.5  # seconds between two looks of a stage that is measured

# Stages that cannot be counted: an earlier stage, and how many times as long as that they take. Medians of seven
# models, from digits_resnet to swin_t: exports of one were off by a factor of 2.5 at most, the short stages by 5.
TYPICAL = {
    "export": ("capture", 4.4),
    "run in onnxruntime": ("export", 0.05),
    "compare on random weights": ("export", 0.24),
    "export the original": ("export", 0.75),
}


class Stages:
    """A progress callback: each call says that the stage before has ended and the next one begins."""

    def __init__(self, shown: bool) -> None:
        # the stream itself, since exporting redirects sys.stderr for a while
        self.console = console(sys.stderr)
        self.wanted = shown
        self.shown = shown and self.console.is_terminal and not self.console.is_dumb_terminal
        self.live: Live | None = None
        self.spinner = Spinner("dots")
        self.stage = ""
        self.start = self.drawn = 0.0
        self.done: float | None = None
        self.said = ""
        self.seconds: dict[str, float] = {}

    def __call__(self, stage: str) -> None:
        stop_if_interrupted()
        self.end("✓", "green")
        self.stage, self.start, self.done, self.said = stage, perf_counter(), None, ""
        if self.shown:
            self.live = Live(
                console=self.console,
                transient=True,
                auto_refresh=stage not in MEASURED,
                refresh_per_second=8,
                get_renderable=self.line,
                redirect_stdout=False,  # what is silenced should stay so
                redirect_stderr=False,
            )
            self.live.start(refresh=True)

    def part(self, done: float) -> None:
        """How much of the running stage is done, from 0 to 1."""
        stop_if_interrupted()
        self.done = done
        if self.live is not None and self.stage in MEASURED and perf_counter() - self.drawn > REDRAWN:
            self.live.refresh()
            self.drawn = perf_counter()

    def say(self, text: str, lasting: bool = False) -> None:
        """Shows ``text`` beside the running stage; without a terminal it is printed where it is ``lasting``."""
        stop_if_interrupted()
        self.said = text
        if lasting and self.wanted and not self.shown:
            self.console.print(Text(f"{self.stage}: {text}"))

    @contextmanager
    def resumable(self, path: Path | None) -> Iterator[None]:
        """Says, where an interrupt ends the body, that the same command goes on from ``path``, if that is a file."""
        try:
            yield
        except KeyboardInterrupt:
            if path is not None and path.is_file():
                self.end("✗", "red")
                if self.wanted:
                    text = f"stopped; the same command goes on from {path}"
                    self.console.print(Text(text), soft_wrap=True)
            raise

    def end(self, mark: str, style: str) -> None:
        """Ends the running stage, if there is one."""
        if self.live is not None:
            self.live.stop()
            self.live = None
        if self.stage:
            seconds = self.seconds[self.stage] = perf_counter() - self.start
            if self.shown:
                took = (f"{seconds:>7.1f} s", "dim")
                self.console.print(Text.assemble((mark, style), f" {self.stage:<32}", took))
        self.stage = ""

    def line(self) -> Table:
        """The running stage as one row: a spinner, its name, a bar where it is counted, and the time left."""
        line = Table.grid(padding=(0, 1))
        bar = [] if self.done is None else [ProgressBar(1.0, self.done, width=20)]
        line.add_row(self.spinner, Text(self.stage), *bar, Text(self._left(), style="dim"))
        return line

    def _left(self) -> str:
        if self.said:
            return self.said
        passed = perf_counter() - self.start
        if self.done:
            return f"{self.done:.0%}, {_time(passed * (1 - self.done) / self.done)} left"
        other, times = TYPICAL.get(self.stage, ("", 0.0))
        expected = self.seconds.get(other, 0.0) * times - passed
        return f"{passed:.0f} s" + (f", about {_time(expected)} left" if expected > 0 else "")


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def stages(quiet: bool = False) -> Iterator[Stages]:
    """Shows stages on stderr while the body runs; a stage that an error ends is crossed out."""
    progress = Stages(not quiet)
    try:
        with told(progress.part):
            yield progress
    except BaseException:
        progress.end("✗", "red")
        raise
    progress.end("✓", "green")

"""Stages as they run: where a run is and the time left, on one line of a terminal, or in plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from graphprune.cli.estimates import plain_name, seconds_of, time_text, whole_text
from graphprune.cli.failures import stop_if_interrupted
from graphprune.cli.output import console
from graphprune.ground.clock import told
from graphprune.report.tables import timing_table

__all__ = ["Stages", "stages"]

# A spinner redraws itself from a thread of its own, which would disturb what is being measured.
MEASURED = {"time"}
REDRAWN = 0.5  # seconds between two looks of a stage that is measured

PATIENCE = 10.0  # seconds of a run after which it says where it is, if there is no terminal
SELDOM = 30.0  # seconds between two lines of one stage


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
        self.seconds: dict[str, float] = {}  # of the last stage of each name
        self.spent: dict[str, float] = {}  # of all of each name
        self.begun = self.told = perf_counter()
        self.coming: list[str] = []
        self.expected = False
        self.number = 0

    def expect(self, stages: Sequence[str]) -> None:
        """Says which stages are to come, as far as that is known."""
        self.coming, self.expected = list(stages), bool(stages)

    def __call__(self, stage: str) -> None:
        stop_if_interrupted()
        self.end("✓", "green")
        self.stage, self.start, self.done, self.said = stage, perf_counter(), None, ""
        self.number += 1
        if stage in self.coming:  # those before it are left out this time
            del self.coming[: self.coming.index(stage) + 1]
        self._tell()
        if self.shown:
            self.live = Live(
                console=self.console,
                transient=True,
                auto_refresh=plain_name(stage) not in MEASURED,
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
        if perf_counter() - self.told > SELDOM:
            self._tell()
        if (
            self.live is not None
            and plain_name(self.stage) in MEASURED
            and perf_counter() - self.drawn > REDRAWN
        ):
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
            seconds = self.seconds[plain_name(self.stage)] = perf_counter() - self.start
            self.spent[plain_name(self.stage)] = self.spent.get(plain_name(self.stage), 0.0) + seconds
            if self.shown:
                took = (f"{seconds:>7.1f} s", "dim")
                self.console.print(Text.assemble((mark, style), f" {self.stage:<32}", took))
        self.stage = ""

    def line(self) -> Table:
        """The running stage as one row: a spinner, its name, a bar where it is counted, and the time left."""
        line = Table.grid(padding=(0, 1))
        bar = [] if self.done is None else [ProgressBar(1.0, self.done, width=8 if self.expected else 20)]
        name = Text(self.stage, no_wrap=True, overflow="ellipsis")
        line.add_row(self.spinner, name, *bar, Text(self._left(), style="dim", no_wrap=True))
        return line

    def _left(self) -> str:
        if self.said:
            return self.said
        passed = perf_counter() - self.start
        left = self._rest(passed)
        if self.expected:
            share = "" if self.done is None else f"{self.done:.0%}, "
            return f"{share}{self._step(left)}"
        if self.done:
            return f"{self.done:.0%}, {time_text(left or 0.0)} left"
        return f"{passed:.0f} s" + (f", about {time_text(left)} left" if left else "")

    def _rest(self, passed: float) -> float | None:
        """Seconds that are left of the running stage; None where nothing tells, or it takes longer than foretold."""
        if self.done:
            return passed * (1 - self.done) / self.done
        foretold = seconds_of(self.stage, self.seconds)
        return foretold - passed if foretold is not None and foretold > passed else None

    def _step(self, left: float | None) -> str:
        """Which step of how many, and how long all of them will take still."""
        total = f" of {self.number + len(self.coming)}" if self.expected else ""
        texts = f"step {self.number}{total}", whole_text(left, self.coming, self.seconds)
        return ", ".join(filter(None, texts))

    def _tell(self) -> None:
        """A line on where a long run is, where there is no terminal, of a run whose steps are known."""
        now = perf_counter()
        if self.expected and self.wanted and not self.shown and now - self.begun > PATIENCE:
            self.told = now
            share = "" if self.done is None else f" {self.done:.0%},"
            step, _, left = self._step(self._rest(now - self.start)).partition(", ")
            text = f"{step}: {self.stage},{share} {left}".rstrip(", ")
            self.console.print(Text(text), soft_wrap=True)

    def timings(self) -> None:
        """Prints what took how long."""
        self.console.print(timing_table(self.spent))


@contextmanager
def stages(quiet: bool = False, timings: bool = False) -> Iterator[Stages]:
    """Shows stages on stderr while the body runs; a stage that an error ends is crossed out.

    Args:
        timings: at the end, show what took how long.
    """
    progress = Stages(not quiet)
    try:
        with told(progress.part):
            yield progress
    except BaseException:
        progress.end("✗", "red")
        raise
    progress.end("✓", "green")
    if timings:
        progress.timings()

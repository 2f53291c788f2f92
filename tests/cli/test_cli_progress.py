"""How far a stage has come, and the time left, as the line on a terminal says it."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from graphprune.cli import progress as module
from graphprune.cli.progress import Stages, stages
from graphprune.ground.clock import counted, part


class Time:
    """Seconds that pass only when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(module, "perf_counter", clock)
    return clock


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Callable[[Stages], str]:
    def render(shown: Stages) -> str:
        console = Console(file=io.StringIO(), width=80, color_system=None)
        with console.capture() as captured:
            console.print(shown.line())
        return captured.get().rstrip("\n")

    return render


def test_a_counted_stage_says_how_much_is_done_and_left(time: Time, line: Callable[[Stages], str]) -> None:
    with stages() as shown:
        shown("score")
        for _ in counted(range(4)):
            time.now += 10
        assert "score" in line(shown)
        assert line(shown).endswith("100%, 0 s left")
        shown("verify")
        time.now += 30
        part(0.25)
        assert line(shown).endswith("25%, 1:30 left")
        part(0.002)
        assert line(shown).endswith("0%, 4 h 9 min left")
        assert len(line(shown)) <= 80


def test_an_export_is_compared_with_the_capture(time: Time, line: Callable[[Stages], str]) -> None:
    with stages() as shown:
        shown("capture")
        time.now += 5
        assert line(shown).endswith("capture 5 s")  # nothing to compare it with
        shown("export")
        time.now += 2
        assert line(shown).endswith("export 2 s, about 20 s left")
        time.now += 38
        assert line(shown).endswith("export 40 s")  # it takes longer than expected
        shown("export the original")
        assert line(shown).endswith("0 s, about 30 s left")


def test_a_stage_that_is_measured_is_drawn_by_nobody_else(
    monkeypatch: pytest.MonkeyPatch, time: Time
) -> None:
    target = Console(file=io.StringIO(), force_terminal=True, width=80, _environ={"TERM": "xterm"})
    monkeypatch.setattr(module, "console", lambda stream: target)
    with stages() as shown:
        shown("verify")
        assert shown.live is not None
        assert shown.live.auto_refresh
        shown("time")
        assert not shown.live.auto_refresh
        time.now += 2
        part(0.5)
    text = target.file.getvalue()  # type: ignore[attr-defined]
    assert "50%, 2 s left" in text
    assert text.rpartition("✓")[2].split() == ["\x1b[0m", "time", "\x1b[2m", "2.0", "s\x1b[0m"]


def test_nothing_is_shown_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with stages() as shown:
        shown("verify")
        part(0.5)
    assert capsys.readouterr() == ("", "")

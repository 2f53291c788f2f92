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
    monkeypatch.setattr(module, "PATIENCE", 10.0)
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
        assert line(shown).endswith("export 2 s, about 8 s left")
        time.now += 38
        assert line(shown).endswith("export 40 s")  # it takes longer than expected
        shown("export the original")
        assert line(shown).endswith("0 s, about 13 s left")


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


def test_the_whole_run_says_its_step_and_what_is_left(time: Time, line: Callable[[Stages], str]) -> None:
    with stages() as shown:
        shown("build the model")
        shown.expect(["capture", "repair", "verify", "export", "time"])
        assert line(shown).endswith(
            "build the model step 1 of 6, at least 3 s left"
        )  # of timing, as it is bounded
        shown("capture")
        time.now += 10
        shown("verify")  # the repair is left out this time
        time.now += 2
        assert line(shown).endswith("verify step 3 of 5, about 28 s left")  # 6 - 2, 21 and 3
        part(0.5)
        assert line(shown).endswith("50%, step 3 of 5, about 26 s left")
        shown("try l1, global")  # nobody has foretold it
        assert line(shown).endswith("step 4 of 6, at least 24 s left")
        assert len(line(shown)) <= 80


def test_a_budget_takes_as_long_as_the_one_before(time: Time, line: Callable[[Stages], str]) -> None:
    with stages() as shown:
        shown.expect([f"macs {share}: {stage}" for share in (0.9, 0.5) for stage in ("verify", "repair")])
        shown("macs 0.9: verify")
        time.now += 4
        shown("macs 0.9: repair")
        time.now += 60
        shown("macs 0.5: verify")
        time.now += 1
        assert line(shown).endswith("macs 0.5: verify step 3 of 4, about 1:03 left")


def test_a_long_run_says_where_it_is_in_plain_lines(time: Time, capsys: pytest.CaptureFixture[str]) -> None:
    with stages() as shown:
        shown("capture")
        shown.expect(["verify", "export"])
        time.now += 9
        shown("verify")
        assert capsys.readouterr() == ("", "")  # not yet
        time.now += 4
        part(0.5)
        time.now += 30
        part(0.9)
        time.now += 1
        part(0.95)
        shown("export")
    assert capsys.readouterr().err.splitlines() == [
        "step 2 of 3: verify, 90%, about 23 s left",
        "step 3 of 3: export, about 19 s left",
    ]


def test_a_quiet_run_says_nothing_however_long(time: Time, capsys: pytest.CaptureFixture[str]) -> None:
    with stages(quiet=True) as shown:
        shown("capture")
        time.now += 100
        shown("verify")
    assert capsys.readouterr() == ("", "")


def test_what_took_how_long(time: Time, capsys: pytest.CaptureFixture[str]) -> None:
    with stages(timings=True) as shown:
        for stage, seconds in (
            ("capture", 0.01),
            ("macs 0.9: verify", 1.5),
            ("macs 0.5: verify", 1.5),
            ("plan", 7),
        ):
            shown(stage)
            time.now += seconds
    rows = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert [row for row in rows if row[-1:] and "%" in row[-1]] == [
        ["plan", "7.0", "s", "69.9%"],
        ["verify", "3.0", "s", "30.0%"],
        ["1", "more", "0.0", "s", "0.1%"],
    ]
    assert ["all", "10.0", "s"] in rows

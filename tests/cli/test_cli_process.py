"""The real program in a process of its own: interrupts, pipes, terminals, encodings."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from graphprune.cli.failures import install_signals
from graphprune.cli.progress import Stages

GRAPHPRUNE = [sys.executable, "-m", "graphprune.cli"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_leaves_nothing(tmp_path: Path, number: int, code: int) -> None:
    out = tmp_path / "new" / "out"
    command = [*GRAPHPRUNE, "shrink", "zoo:mtcnn_rnet", "--macs", "0.5", "-o", str(out)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    # while files are being written: the draft is there and holds something
    wait_until(lambda: any(tmp_path.glob("new/.out.*/*")))
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert stdout == ""
    assert stderr == "graphprune: error: interrupted; no result was written\n"
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_sensitivity_says_where_it_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "points.json"
    ratios = ",".join(f"{share / 40:g}" for share in range(1, 40))
    command = [*GRAPHPRUNE, "sensitivity", "zoo:mtcnn_rnet", "--ratios", ratios, "-o", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    wait_until(out.exists)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"stopped; the same command goes on from {out}\n" in stderr
    assert stderr.endswith("graphprune: error: interrupted; no result was written\n")
    assert out.exists()


@pytest.mark.parametrize("moment", ["import", "build the model", "capture", "verify", "export", "time"])
def test_ctrl_c_at_any_moment(tmp_path: Path, moment: str) -> None:
    main, other = pty.openpty()
    command = [
        *GRAPHPRUNE,
        "shrink",
        "zoo:mlp",
        "--weights",
        "none",
        "--ratio",
        "0.5",
        "-o",
        str(tmp_path / "out"),
    ]
    environment = {**ENVIRONMENT, "TERM": "xterm-256color", "COLUMNS": "80"}
    process = subprocess.Popen(command, stdout=other, stderr=other, env=environment)
    os.close(other)
    shown = Shown(main)
    if moment == "import":  # of torch, before the first stage
        maps = Path(f"/proc/{process.pid}/maps")
        wait_until(lambda: "libtorch_cpu" in maps.read_text())
    else:
        wait_until(lambda: f"{moment} " in shown.read())
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert shown.rest().endswith("graphprune: error: interrupted; no result was written\r\n")
    assert "Traceback" not in shown.text
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_within_an_exec_has_the_same_code(tmp_path: Path) -> None:
    """The interpreter itself ends by a signal after one, as dataclasses that are being imported run it."""
    factory = "import os, signal\n\n\ndef net():\n    exec('os.kill(os.getpid(), signal.SIGINT)')\n"
    (tmp_path / "net.py").write_text(factory)
    command = [
        *GRAPHPRUNE,
        "shrink",
        f"{tmp_path / 'net.py'}:net",
        "--ratio",
        "0.5",
        "-o",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.stderr == "graphprune: error: interrupted; no result was written\n"
    assert done.returncode == 130


def test_interrupt_keeps_an_earlier_result(result_folder: Path) -> None:
    before = {path: path.read_bytes() for path in result_folder.iterdir()}
    command = [*GRAPHPRUNE, "shrink", "zoo:digits_resnet", "--macs", "0.9", "--fast", "-o", str(result_folder)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    wait_until(lambda: any(result_folder.parent.glob(".slim.*/*")))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert {path: path.read_bytes() for path in result_folder.iterdir()} == before
    assert list(result_folder.parent.iterdir()) == [result_folder]


def test_pipes_get_plain_text() -> None:
    command = [*GRAPHPRUNE, "inspect", "zoo:mlp"]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert not CONTROL.search(done.stdout)
    assert done.stderr == ""
    assert "0.weight:0" in done.stdout


def test_characters_that_the_terminal_lacks(tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*GRAPHPRUNE, "inspect", "zoo:nothing"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("graphprune: error: the zoo has no model 'nothing' ? ")


class Shown:
    """What comes out on the other side of a terminal."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.text = ""

    def read(self) -> str:
        """All until now."""
        while select.select([self.side], [], [], 0)[0] and self._more():
            pass
        return self.text

    def rest(self) -> str:
        """All until it is closed."""
        while self._more():
            pass
        os.close(self.side)
        return self.text

    def _more(self) -> bool:
        try:
            new = os.read(self.side, 65536)
        except OSError:  # the other side is closed
            return False
        self.text += new.decode(errors="replace")
        return bool(new)


def on_a_terminal(environment: dict[str, str], *arguments: str) -> str:
    """What the program shows on a terminal of 80 columns."""
    main, other = pty.openpty()
    variables = {**environment, "TERM": "xterm-256color", "COLUMNS": "80"}
    process = subprocess.Popen([*GRAPHPRUNE, *arguments], stdout=other, stderr=other, env=variables)
    os.close(other)
    text = Shown(main).rest()
    assert process.wait(60) == 0
    return text


def test_stages_on_a_terminal(tmp_path: Path) -> None:
    environment = {key: value for key, value in ENVIRONMENT.items() if key != "NO_COLOR"}
    options = ("--ratio", "0.5", "--no-latency", "-o", str(tmp_path / "out"))
    text = on_a_terminal(environment, "shrink", "zoo:mlp", *options)
    for stage in ("build the model", "capture", "verify", "export", "run in onnxruntime"):
        assert re.search(rf"✓\S* {stage} ", text), text
    assert COLOUR.search(text)


def test_no_color_on_a_terminal() -> None:
    text = on_a_terminal({**ENVIRONMENT, "NO_COLOR": "1"}, "inspect", "zoo:mlp")
    assert "✓ build the model " in text
    assert not COLOUR.search(text)


@pytest.fixture
def handled() -> Iterator[None]:
    """Signals are handled as in the program."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    install_signals()
    yield
    install_signals()  # forgets what came
    for number, handler in before.items():
        signal.signal(number, handler)


def test_an_interrupt_that_is_lost_on_the_way(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, handled: None
) -> None:
    def fail(*_: object, **__: object) -> None:
        # as a compiled module does that is interrupted while it is imported
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        raise ImportError("initialization failed")

    monkeypatch.setattr("graphprune.cli.inspect.resolve", fail)
    result = run("inspect", "zoo:mlp")
    assert result.exit_code == 143
    assert result.stderr == "graphprune: error: interrupted; no result was written\n"
    with pytest.raises(KeyboardInterrupt):
        Stages(False)("the next stage")


def test_what_torch_logs_of_a_failed_capture_is_not_shown(tmp_path: Path) -> None:
    command = [
        *GRAPHPRUNE,
        "shrink",
        "zoo:mlp",
        "--weights",
        "none",
        "--ratio",
        "0.5",
        "--input-shape",
        "3,5",
    ]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "out")], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("graphprune: error: the model does not run on the example inputs (3, 5)")
    assert not list(tmp_path.iterdir())

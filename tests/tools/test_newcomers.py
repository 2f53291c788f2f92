"""The newcomers' paths: their commands are those of the program, and the quickest of them, in short, is walked."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from graphprune.cli.app import app

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from docs_commands import parameters

FOLDER = Path(__file__).parents[2] / "tools" / "newcomers"
PATHS = sorted(path for path in FOLDER.glob("*.sh") if path.name != "steps.sh")


def steps(path: Path) -> list[list[str]]:
    """The words of each step of a path."""
    lines = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return [shlex.split(line.removeprefix("step ")) for line in lines if line.startswith("step ")]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_path_has_at_most_ten_commands_that_exist(path: Path) -> None:
    """Three of them install."""
    found, known = steps(path), parameters()
    most = int(re.findall(r"MOST=(\d+)", (FOLDER / "steps.sh").read_text())[0])
    assert 3 + len(found) <= most == 10
    assert found[-1][:3] == ["python", f"{path.stem}.py", "deployed"]
    for program, command, *words in found:
        if program == "graphprune":
            options = {word for item in known[command] for word in item.opts}
            assert {word for word in words if word.startswith("-")} <= options
        else:
            assert (FOLDER / command).is_file()


def test_there_are_three_paths() -> None:
    assert [path.stem for path in PATHS] == ["detect", "mobile", "research"]
    for path in [*PATHS, FOLDER / "steps.sh"]:
        subprocess.run(["bash", "-n", str(path)], check=True)


def test_a_path_ends_where_a_step_fails(tmp_path: Path) -> None:
    for name in ("steps.sh", "fails.sh"):
        text = (
            (FOLDER / name).read_text()
            if name == "steps.sh"
            else (
                'source "$(dirname "$0")/steps.sh"\nbegin demo --here\nstep true\nstep false\nstep true\nfinish\n'
            )
        )
        (tmp_path / name).write_text(text)
    (tmp_path / "any.py").write_text("")
    done = subprocess.run(["bash", str(tmp_path / "fails.sh")], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "[5] $ false" in done.stdout
    assert "[6]" not in done.stdout
    assert "Deployed" not in done.stdout


def test_the_researcher_gets_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Her path with the quick choice of units, and without the tuning."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    for file in FOLDER.glob("*.py"):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def python(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "research.py", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "trained, accuracy 0.9" in python("train", "checkpoint.pt")
    options = "--weights checkpoint.pt --macs 0.9 --fast --evaluate research.py:accuracy --no-latency -o slim"
    made = CliRunner().invoke(app, ["shrink", "research.py:make", *options.split()])
    assert made.exit_code == 0, made.output
    assert "Answers: metric 0.9" in made.stdout
    assert re.fullmatch(r"accuracy 0\.9\d+, \d+\.\d+ ms an image\n", python("deployed", "slim"))

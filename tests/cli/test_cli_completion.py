"""Completion: names that options take, and shells."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphprune.asking import names
from graphprune.asking.options import Options
from graphprune.cli.completion import SHELLS
from graphprune.planning import RANKINGS
from graphprune.planning.schedule import check_schedule
from graphprune.scoring import CRITERIA
from graphprune.scoring.measures import AGGREGATES, NORMALISERS


def test_the_names_are_those_of_the_tables() -> None:
    assert set(names.IMPORTANCES) == {"auto", *CRITERIA}
    assert set(names.AGGREGATES) == set(AGGREGATES)
    assert set(names.NORMALISERS) == set(NORMALISERS)
    assert set(names.RANKINGS) == set(RANKINGS)
    for schedule in names.SCHEDULES:
        check_schedule(2, schedule)


@pytest.mark.parametrize(
    ("option", "typed", "completed"),
    [
        ("importance", "refit_", ["refit_shrunk"]),
        ("importance", "l2:p", ["l2:prod", "l2:producers"]),
        ("importance", "l2::la", ["l2::lamp"]),
        ("importance", "auto:", []),
        ("importance", "l2:::", []),
        ("ranking", "i", ["isomorphic"]),
        ("schedule", "g", ["geometric"]),
        ("export_dtype", "float1", ["float16"]),
    ],
)
def test_what_an_option_completes_to(option: str, typed: str, completed: list[str]) -> None:
    complete = Options.__dataclass_fields__[option].metadata["option"].complete
    assert complete(typed) == completed


def test_the_shell_completes_an_importance() -> None:
    environment = {
        **os.environ,
        "_GRAPHPRUNE_COMPLETE": "complete_bash",
        "COMP_WORDS": "graphprune shrink zoo:mlp --importance tay",
        "COMP_CWORD": "4",
    }
    code = (
        "import sys, graphprune.cli\n"
        "try:\n"
        "    graphprune.cli.main()\n"
        "finally:\n"
        "    print('torch' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.split() == ["taylor", "taylor_abs"]
    assert done.stderr.split() == ["False"]


def test_an_unknown_importance_lists_all_the_nearest_first(refused: Callable[..., str]) -> None:
    line = refused("shrink", "zoo:mlp", "--macs", 0.5, "--importance", "tailor", "-o", "x")
    listed = line.partition("use one of ")[2].split(", ")
    assert listed[0] == "taylor"
    assert sorted(listed) == sorted(CRITERIA)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".bashrc").write_text("mine\n")
    return tmp_path


@pytest.mark.parametrize("named", [("tcsh",), ("bash", "zsh"), ("/bin/bash",)])
@pytest.mark.parametrize("option", ["--install-completion", "--show-completion"])
def test_an_unknown_shell_changes_nothing(
    refused: Callable[..., str], home: Path, option: str, named: tuple[str, ...]
) -> None:
    line = refused(option, *named)
    assert "nothing was changed" in line
    assert f"{option} bash|zsh|fish" in line
    assert [item.name for item in home.iterdir()] == [".bashrc"]
    assert (home / ".bashrc").read_text() == "mine\n"


def test_a_shell_that_cannot_be_found_out(
    refused: Callable[..., str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphprune.cli.completion._running", lambda: None)
    assert refused("--install-completion").startswith("the shell is not known; nothing was changed")
    monkeypatch.setattr("graphprune.cli.completion._running", lambda: "nu")
    assert refused("--install-completion").startswith("there is no completion for nu; nothing was changed")


def test_a_named_shell(run: Callable[..., Any], home: Path) -> None:
    done = run("--install-completion", "bash")
    assert done.exit_code == 0, done.output
    script = home / ".bash_completions" / "graphprune.sh"
    assert str(script) in done.stdout
    assert str(script) in (home / ".bashrc").read_text()
    assert (home / ".bashrc").read_text().startswith("mine\n")
    for shell in SHELLS:
        assert "graphprune" in run("--show-completion", shell).stdout

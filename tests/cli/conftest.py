"""Running the command line in this process, and one small result to read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from graphprune.cli.app import app

NET = """
import torch
from torch import nn

def make():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

def with_inputs():
    return make(), torch.zeros(2, 6)
"""


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run() -> Callable[..., Any]:
    """``run("zoo", "--json")``: the result of one command, with exit_code, stdout and stderr."""
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def refused(run: Callable[..., Any]) -> Callable[..., str]:
    """Runs a command that must fail in one line on stderr and nothing on stdout; returns that line."""

    def check(*arguments: object, code: int = 2) -> str:
        result = run(*arguments)
        assert result.exit_code == code, result.output
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith("graphprune: error: ")
        assert "Traceback" not in result.stderr
        assert " — " in result.stderr  # the remedy
        return str(result.stderr).removeprefix("graphprune: error: ").rstrip("\n")

    return check


@pytest.fixture(scope="session")
def result_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shrunk digits_resnet. Copy it before you change it."""
    folder = tmp_path_factory.mktemp("result") / "slim"
    arguments = ["shrink", "zoo:digits_resnet", "--ratio", "0.5", "--no-latency", "-o", str(folder)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A user's file with the factories ``make`` and ``with_inputs``."""
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path

"""Errors that nobody has foreseen: of the user's own code, of the machine, and of ours, which are kept for a report."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphprune.ground.files import CACHE

Refused = Callable[..., str]
ARGUMENTS = ("shrink", "zoo:mlp", "--macs", 0.5, "-o", "a place")
FAILING = """
import torch

def judge(model):
    return 1 / 0

def batches():
    yield torch.rand(4, 6)
    raise KeyError("the second batch")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where reports are kept."""
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "errors"


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    names: dict[str, Any] = {"error": error}
    exec("def fail(*_): raise error", names)  # in no file, since one of the tests' own is a user's
    monkeypatch.setattr("graphprune.cli.shrink.resolve", names["fail"])


def test_an_error_of_ours_is_kept_for_a_report(
    refused: Refused, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, RuntimeError("first line\nsecond line"))
    line = refused(*ARGUMENTS, code=1)
    (file,) = folder.iterdir()
    assert line == (
        "graphprune has failed, and this is a mistake of its own (RuntimeError: first line) — please report it, with "
        f"the file {file}"
    )
    text = file.read_text()
    assert text.startswith("graphprune shrink zoo:mlp --macs 0.5 -o 'a place'\n")
    assert re.search(r"graphprune \d\S+, torch \d\S+, onnx \d", text)
    assert "Traceback (most recent call last)" in text
    assert text.endswith("RuntimeError: first line\nsecond line\n")


def test_a_report_that_cannot_be_kept_where_it_should(
    refused: Refused, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    failing(monkeypatch, RuntimeError("of ours"))
    folder.parent.write_text("a file")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    line = refused(*ARGUMENTS, code=1)
    assert Path(line.rpartition(" the file ")[2]).read_text().endswith("RuntimeError: of ours\n")
    monkeypatch.setattr("tempfile.tempdir", str(folder.parent))
    assert refused(*ARGUMENTS, code=1).endswith(
        "with the file that --debug shows: none could be written here"
    )


def test_the_traceback_is_shown_where_it_is_wanted(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, RuntimeError("of ours"))
    result = run(*ARGUMENTS, "--debug")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    error = json.loads(run(*ARGUMENTS, "--json").stdout)["error"]
    assert error["exit_code"] == 1
    assert error["remedy"].startswith("please report it, with the file ")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "there is not enough memory (MemoryError: MemoryError) — take a smaller batch"),
        (
            RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried 4 TB"),
            "there is not enough memory (RuntimeError: [enforce fail]",
        ),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/dev/shm"),
            "/dev/shm cannot be written: its disk",
        ),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), "cannot be written: its disk can only be read"),
    ],
)
def test_what_the_machine_lacks(
    error: Exception, said: str, refused: Refused, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, error)
    assert said in refused(*ARGUMENTS)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--trials", 2, "--evaluate", "code.py:judge"), "{}:5 fails: ZeroDivisionError: division by zero"),
        (("--trials", 2, "--calibration", "code.py:batches"), "{}:9 fails: KeyError: 'the second batch'"),
    ],
)
def test_an_error_of_the_users_own_code_has_its_place(
    options: tuple[object, ...], said: str, refused: Refused, net: Path, folder: Path
) -> None:
    Path("code.py").write_text(FAILING)
    line = refused("shrink", f"{net}:with_inputs", "--macs", 0.5, *options, "-o", "slim")
    assert line == said.format("code.py") + " — correct it, or see the whole traceback with --debug"
    assert not folder.exists()

"""A run that is killed at any step on the disk: the old result or the new one is there, and then nothing else."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from graphprune.exporting import write_directory
from graphprune.ground import drafts

STEPS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree")
OLD, NEW = ({"model.py": word, "report.json": "{}", "a/b": word} for word in ("old", "new"))


def write(place: Path, contents: dict[str, str]) -> None:
    def writer(text: str) -> Callable[[Path], None]:
        return lambda path: path.write_text(text) and None

    write_directory(place, {name: writer(text) for name, text in contents.items()})


def files(place: Path) -> dict[str, str]:
    return {str(path.relative_to(place)): path.read_text() for path in place.rglob("*") if path.is_file()}


def died_at(number: int, folder: Path) -> bool:
    """Whether a run that writes the new result in the folder was killed before its step of that number."""
    if not (child := os.fork()):
        left = [number]

        def dying(event: str, arguments: tuple[object, ...]) -> None:
            if event in STEPS and str(arguments[0]).startswith(str(folder)):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(dying)
        try:
            write(folder / "out", NEW)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(("before", "exchanges"), [(True, True), (True, False), (False, True)])
def test_killed_at_every_step(
    before: bool, exchanges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # which takes its time, and no kill is in it
    if not exchanges:
        monkeypatch.setattr(drafts, "_exchanged", lambda one, other: False)
    found, gaps = set[str](), 0
    for number in count(1):
        folder = tmp_path / str(number)
        folder.mkdir()
        if before:
            write(folder / "out", OLD)
        died = died_at(number, folder)
        gaps += before and not (folder / "out").exists()
        write(folder / "beside", OLD)  # the next run, of something else
        assert files(folder / "out") in ({}, OLD, NEW)
        found.add(files(folder / "out").get("model.py", "nothing"))
        assert {entry.name for entry in folder.iterdir()} - {"out"} == {"beside"}
        write(folder / "out", NEW)
        assert files(folder / "out") == NEW
        if not died:
            break
    assert found == {"old" if before else "nothing", "new"}
    assert number > 30
    assert gaps == (1 if before and not exchanges else 0)

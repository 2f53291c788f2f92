"""Drafts: in their place in one step, and gone with the run that made them, however it ended."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from graphprune.ground import drafts
from graphprune.ground.drafts import drafted, put, sweep
from graphprune.ground.files import write_text, written_aside


def folder(place: Path, content: str) -> None:
    """A folder with one file, written as a draft."""
    with drafted(place) as draft:
        draft.mkdir()
        (draft / "file").write_text(content)
        put(draft, place)


def killed(body: Callable[[], None]) -> None:
    """Runs the body in a process that dies of SIGKILL when it returns, or within it."""
    if not (child := os.fork()):
        try:
            body()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def names(place: Path) -> list[str]:
    return sorted(entry.name for entry in place.iterdir())


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_takes_the_place_of_another(
    exchanges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchanges:
        monkeypatch.setattr(drafts, "_exchanged", lambda one, other: False)
    for content in ("old", "new"):
        folder(tmp_path / "out", content)
        assert (tmp_path / "out" / "file").read_text() == content
        assert names(tmp_path) == ["out"]


def test_it_changes_places_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name never lacks a folder: no rename takes it away."""
    folder(tmp_path / "out", "old")
    rename = os.rename

    def watched(one: Path, other: Path) -> None:
        assert one != tmp_path / "out"
        rename(one, other)

    monkeypatch.setattr(os, "rename", watched)
    folder(tmp_path / "out", "new")
    assert (tmp_path / "out" / "file").read_text() == "new"


def test_errors_of_an_exchange_are_raised(tmp_path: Path) -> None:
    folder(tmp_path / "out", "old")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        drafts._exchanged(tmp_path / "out", tmp_path / "file" / "below")
    assert not drafts._exchanged(tmp_path / "out", tmp_path / "nothing")


def test_a_killed_run_leaves_what_the_next_one_takes_away(tmp_path: Path) -> None:
    folder(tmp_path / "out", "old")

    def half() -> None:
        with drafted(tmp_path / "out") as draft:
            draft.mkdir()
            die()

    for _ in range(3):
        killed(half)
        assert len(names(tmp_path)) == 2  # each takes away what the one before has left
    write_text(tmp_path / "other", "anything beside it")
    assert names(tmp_path) == ["other", "out"]
    assert (tmp_path / "out" / "file").read_text() == "old"


def test_the_draft_of_a_run_that_lives_stays(tmp_path: Path) -> None:
    with drafted(tmp_path / "out") as draft:
        draft.mkdir()
        if not (child := os.fork()):
            sweep(tmp_path)
            os._exit(0)
        os.waitpid(child, 0)
        sweep(tmp_path)
        assert draft.is_dir()


def test_a_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a draft is not told from what the dead have left, so both stay."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with drafted(tmp_path / "out") as draft:
        draft.mkdir()
        folder(tmp_path / "out", "new")
        assert draft.is_dir()
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "file").read_text() == "new"


def test_folders_of_others_stay(tmp_path: Path) -> None:
    for name in (".out", ".out.mine", ".out.abcdefgh.draft", "draft"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes").write_text("mine")
    (tmp_path / ".out.12345678.draft").write_text("a file")
    (tmp_path / ".out.87654321.draft").symlink_to(tmp_path / ".out")
    before = names(tmp_path)
    sweep(tmp_path)
    assert names(tmp_path) == before


def test_killed_before_there_was_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "FileLock", die)
    killed(lambda: folder(tmp_path / "out", "new"))
    assert len(names(tmp_path)) == 1
    sweep(tmp_path)
    assert names(tmp_path) == []


def test_a_sweep_between_folder_and_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, swept = drafts.FileLock, []

    def late(*args: object, **options: object) -> object:
        if not swept:
            swept.append(sweep(tmp_path))
        return make(*args, **options)

    monkeypatch.setattr(drafts, "FileLock", late)
    folder(tmp_path / "out", "new")
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(("moment", "left"), [(2, "old"), (3, "new")])
def test_killed_between_two_steps(
    moment: int, left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a disk cannot exchange: before anything moves, and when the old one is aside and the new one not there."""
    folder(tmp_path / "out", "old")
    rename, calls = os.rename, []

    def dying(one: Path, other: Path) -> None:
        calls.append(one)
        if len(calls) == moment:
            die()
        rename(one, other)

    monkeypatch.setattr(drafts, "_exchanged", lambda one, other: False)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", dying)
        killed(lambda: folder(tmp_path / "out", "new"))
    assert (tmp_path / "out").exists() is (left == "old")
    sweep(tmp_path)
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "file").read_text() == left


def test_a_file_keeps_what_it_held_until_the_new_one_is_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")

    def half() -> None:
        with written_aside(tmp_path / "file") as draft:
            draft.write_text("ne")
            die()

    killed(half)
    assert (tmp_path / "file").read_text() == "old"
    write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"
    assert names(tmp_path) == ["file"]


def test_a_sweep_that_comes_before_the_lock_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """filelock makes the folder again, and says that it exists where a sweep takes it away in between."""
    own, raised = FileLock.acquire, [FileExistsError, FileNotFoundError]

    def acquire(lock: FileLock, *args: Any, **options: Any) -> Any:
        if raised:
            Path(lock.lock_file).parent.rmdir()
            raise raised.pop()
        return own(lock, *args, **options)

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with drafted(tmp_path / "out") as draft:
        draft.write_text("whole")
        os.replace(draft, tmp_path / "out")
    assert not raised
    assert [path.name for path in tmp_path.iterdir()] == ["out"]

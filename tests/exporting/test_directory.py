"""Result directories: all or nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from graphprune.exporting import ensure_writable, write_directory
from graphprune.ground import drafts
from graphprune.ground.errors import InputError


def text(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content) and None


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


RESULT = {"model.py": text("code"), "report.json": text("{}")}


def failing(error: BaseException) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text("half")
        raise error

    return write


def test_writes_every_file_under_the_target(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "out"
    write_directory(target, {**RESULT, "assets/style.css": text("css")})
    assert files(target) == {"assets/style.css": "css", "model.py": "code", "report.json": "{}"}
    assert [entry.name for entry in target.parent.iterdir()] == ["out"]


def test_others_may_read_the_directory_as_any_other(tmp_path: Path) -> None:
    write_directory(tmp_path / "out", RESULT)
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_writer_may_read_what_an_earlier_one_wrote(tmp_path: Path) -> None:
    copy = {
        "report.json": text("{}"),
        "plan.json": lambda path: text(files(path.parent)["report.json"])(path),
    }
    write_directory(tmp_path / "out", copy)
    assert files(tmp_path / "out") == {"plan.json": "{}", "report.json": "{}"}


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(1)])
def test_a_failing_writer_leaves_nothing(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as caught:
        write_directory(tmp_path / "new" / "out", {**RESULT, "model.onnx": failing(error)})
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_a_failing_writer_leaves_the_earlier_result(error: BaseException, tmp_path: Path) -> None:
    write_directory(tmp_path / "out", RESULT)
    with pytest.raises(type(error)):
        write_directory(tmp_path / "out", {"report.json": text("[]"), "model.onnx": failing(error)})
    assert files(tmp_path / "out") == {"model.py": "code", "report.json": "{}"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (
            errno.ENOSPC,
            r"its disk is full, [\d.e+]+ MB are free — delete something, or choose a place on another",
        ),
        (errno.EDQUOT, "your quota on its disk is used up — delete something"),
        (errno.EROFS, "its disk can only be read — choose a place on another disk"),
        (errno.EACCES, "no permission to write there — choose a writable place"),
        (errno.EIO, "Input/output error — choose a writable place"),
    ],
)
def test_a_disk_that_refuses_leaves_the_earlier_result(number: int, said: str, tmp_path: Path) -> None:
    write_directory(tmp_path / "out", RESULT)
    error = OSError(number, os.strerror(number), "of the draft")
    with pytest.raises(InputError, match=f"^{tmp_path / 'out'} cannot be written: {said}"):
        write_directory(tmp_path / "out", {"report.json": text("[]"), "model.onnx": failing(error)})
    assert files(tmp_path / "out") == {"model.py": "code", "report.json": "{}"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_another_place_that_refuses_is_the_one_that_is_named(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, "", "/tmp/elsewhere")
    with pytest.raises(InputError, match=r"^/tmp/elsewhere cannot be written: its disk is full"):
        write_directory(tmp_path / "out", {"model.onnx": failing(error)})


@pytest.mark.parametrize("failing_call", [1, 2, 3])
def test_a_failing_swap_puts_the_earlier_result_back(
    failing_call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a disk cannot exchange: to its place, which is taken; what is there aside; and to its place again."""
    write_directory(tmp_path / "out", RESULT)
    rename, calls = os.rename, []

    def interrupted(draft: Path, place: Path) -> None:
        calls.append(draft)
        if len(calls) == failing_call:
            raise KeyboardInterrupt
        rename(draft, place)

    monkeypatch.setattr(drafts, "_exchanged", lambda one, other: False)
    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_directory(tmp_path / "out", {"report.json": text("[]")})
    assert files(tmp_path / "out") == {"model.py": "code", "report.json": "{}"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("marker", ["report.json", "plan.json"])
def test_an_earlier_result_is_replaced_whole(marker: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    write_directory(target, {marker: text('{"a": 1}'), "model.onnx": text("old")})
    (target / "__pycache__").mkdir()
    ensure_writable(target)
    write_directory(target, RESULT)
    assert files(target) == {"model.py": "code", "report.json": "{}"}


def test_an_empty_directory_is_used(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_directory(tmp_path / "out", RESULT)
    assert files(tmp_path / "out") == {"model.py": "code", "report.json": "{}"}


def test_a_linked_directory_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write_directory(tmp_path / "link", RESULT)
    assert (tmp_path / "link").is_symlink()
    assert files(tmp_path / "real") == {"model.py": "code", "report.json": "{}"}


@pytest.mark.parametrize(
    ("present", "message"),
    [
        ({"notes.txt": "mine"}, "is not empty and no earlier result — choose a new or empty directory"),
        ({"model.py": "mine"}, "is not empty and no earlier result"),
        ({"report.json": "[1]"}, "is not empty and no earlier result"),
        ({"plan.json": "{"}, "is not empty and no earlier result"),
        (
            {"plan.json": "{}", "train.py": "mine"},
            r"holds 'train\.py' beside an earlier result: it would be lost — move it away, or .* --force",
        ),
        ({"report.json": "{}", ".git": "mine", "README.md": "mine"}, r"holds '\.git' and 1 more beside"),
        (
            {"report.json": '{"tuning": {"steps": 1200}}'},
            "holds a model that was fine-tuned for 1200 steps: that would be lost — choose a new .* --force",
        ),
        ({"report.json": '{"tuning": {}, "loop": {"rounds": [1, 2]}}'}, "was fine-tuned in 2 rounds: that"),
        (
            {"plan.json": "{}", "report.json": '{"tuning": '},
            r"its report\.json does not say, which is damaged",
        ),
        ({"report.json": '{"request": {"between": "train"}}'}, "was trained between rounds: that would be"),
    ],
)
def test_directories_with_other_contents_are_refused_untouched(
    present: dict[str, str], message: str, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    target.mkdir()
    for name, content in present.items():
        (target / name).write_text(content)
    for attempt in (lambda: ensure_writable(target), lambda: write_directory(target, RESULT)):
        with pytest.raises(InputError, match=message):
            attempt()
    assert files(target) == present


def test_what_would_be_lost_is_replaced_by_force(tmp_path: Path) -> None:
    target = tmp_path / "out"
    write_directory(target, {"report.json": text('{"tuning": {"steps": 3}}'), "notes.txt": text("mine")})
    with pytest.raises(InputError, match=r"holds 'notes\.txt' beside an earlier result: it would be lost"):
        write_directory(target, RESULT)
    (target / "data").mkdir()
    with pytest.raises(
        InputError, match=r"holds 'data' .* move it away, or choose a new or empty directory$"
    ):
        write_directory(target, RESULT, force=True)
    (target / "data").rmdir()
    ensure_writable(target, force=True)
    write_directory(target, RESULT, force=True)
    assert files(target) == {"model.py": "code", "report.json": "{}"}


def test_what_comes_while_a_result_is_written_is_not_lost(tmp_path: Path) -> None:
    target = tmp_path / "out"

    def meanwhile(path: Path) -> None:
        write_directory(target, {"report.json": text('{"tuning": {"steps": 3}}')})

    with pytest.raises(InputError, match="fine-tuned for 3 steps: that would be lost"):
        write_directory(target, {"model.py": meanwhile})
    assert files(target) == {"report.json": '{"tuning": {"steps": 3}}'}


def test_what_a_killed_run_has_left_goes_even_where_the_next_one_is_refused(tmp_path: Path) -> None:
    write_directory(tmp_path / "out", {"report.json": text('{"tuning": {"steps": 3}}')})
    left = tmp_path / ".out.abcdefgh.draft"
    left.mkdir()
    (left / "lock").touch()
    with pytest.raises(InputError, match="would be lost"):
        ensure_writable(tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_further_names_of_a_result_can_be_allowed(tmp_path: Path) -> None:
    target = tmp_path / "out"
    write_directory(target, {**RESULT, "extra.csv": text("1")})
    with pytest.raises(InputError, match=r"holds 'extra\.csv'"):
        ensure_writable(target)
    ensure_writable(target, ["extra.csv"])
    write_directory(target, {**RESULT, "extra.csv": text("2")})
    assert files(target)["extra.csv"] == "2"


def test_files_in_the_way_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file — choose"):
        ensure_writable(tmp_path / "file")
    with pytest.raises(
        InputError, match=r"file cannot be written: Not a directory — choose a writable place"
    ):
        ensure_writable(tmp_path / "file" / "out")
    assert files(tmp_path) == {"file": "mine"}


def test_an_unwritable_parent_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)
    for attempt in (
        lambda: ensure_writable(tmp_path / "out"),
        lambda: write_directory(tmp_path / "out", RESULT),
    ):
        with pytest.raises(
            InputError, match=r".* cannot be written: no permission to write there — choose a writable"
        ):
            attempt()


def test_ensure_writable_changes_nothing(tmp_path: Path) -> None:
    ensure_writable(tmp_path / "a" / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "", "."])
def test_names_that_lead_outside_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a file name inside"):
        write_directory(tmp_path / "out", {name: text("x")})
    assert list(tmp_path.iterdir()) == []

"""Result directories: all or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from graphprune.exporting import ensure_writable, write_directory
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


@pytest.mark.parametrize("error", [ValueError("bad"), OSError("full"), KeyboardInterrupt(), SystemExit(1)])
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


@pytest.mark.parametrize("failing_call", [1, 2])
def test_a_failing_swap_puts_the_earlier_result_back(
    failing_call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_directory(tmp_path / "out", RESULT)
    rename, calls = Path.rename, []

    def interrupted(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) == failing_call:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
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
            r"holds 'train\.py' beside an earlier result.* — move it away",
        ),
        ({"report.json": "{}", ".git": "mine"}, r"holds '\.git' beside"),
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
    with pytest.raises(InputError, match=r"nothing can be written in .* — choose a writable directory"):
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
            InputError, match=r"nothing can be written in .*: Permission denied — choose a writable"
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

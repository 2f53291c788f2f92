"""Liked widths from given times; the cache; and the small models that are timed."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy
import pytest

from graphprune import exporting
from graphprune.axes.kinds import KINDS
from graphprune.ground.files import CACHE
from graphprune.profiling import liked_multiples, widths
from graphprune.profiling.lone_layers import chain


def in_blocks(block: int, penalty: float = 1.3) -> dict[int, float]:
    """Seconds of a kernel that is slower where something is left over."""
    every = {*widths.REFERENCES, *(width for between in widths.BETWEEN.values() for width in between)}
    return {width: width * (1.0 if width % block == 0 else penalty) for width in every}


@pytest.mark.parametrize("block", [1, 2, 4, 8, 16, 32])
def test_the_block_is_found(block: int) -> None:
    assert widths.smallest_liked(in_blocks(block)) == block


def test_a_few_percent_are_no_reason() -> None:
    assert widths.smallest_liked(in_blocks(8, 1.03)) == 1


def test_quadratic_times_are_smooth() -> None:
    assert widths.smallest_liked({width: width**2 for width in in_blocks(1)}) == 1


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(CACHE, str(tmp_path / "new"))
    return tmp_path / "new"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Kinds that were timed, by a clock of our own."""
    kinds: list[str] = []

    def timer(kind: str, wanted: Sequence[int]) -> Mapping[int, float]:
        kinds.append(kind)
        return {width: in_blocks(4)[width] for width in wanted}

    monkeypatch.setattr(widths, "_times", timer)
    return kinds


def test_what_was_learned_is_kept(folder: Path, asked: list[str]) -> None:
    first = liked_multiples()
    assert first == dict.fromkeys(KINDS, 4)
    assert asked == list(KINDS)
    assert liked_multiples() == first
    assert asked == list(KINDS)
    assert [path.name for path in folder.iterdir()] == [widths.cache_file().name]


def written(folder: Path, multiples: object = None, machine: object = None) -> str:
    """A file of this machine, with something else in it where that is given."""
    widths.store(dict.fromkeys(KINDS, 4))
    found = json.loads(widths.cache_file().read_text())
    found["multiples"] = multiples or found["multiples"]
    found["machine"] = machine or found["machine"]
    return json.dumps(found)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"linear": 8}',
        b"\x00",
        b"\xff\xfe\x00",
        b"[" * 50_000,
        b'{"machine": 1, "multiples": []}',
        b" " * 100_000,
    ],
)
def test_a_damaged_cache_is_learned_anew(folder: Path, asked: list[str], text: bytes) -> None:
    folder.mkdir()
    widths.cache_file().write_bytes(text)
    assert liked_multiples() == dict.fromkeys(KINDS, 4)
    assert asked == list(KINDS)
    assert widths.read(KINDS) == dict.fromkeys(KINDS, 4)
    assert [path.name for path in folder.iterdir()] == [widths.cache_file().name]


@pytest.mark.parametrize("wrong", [0, -8, "8", 8.0, True, None, 3, 64, 2**70])
def test_a_multiple_that_nobody_has_learned_is_not_taken(folder: Path, wrong: object) -> None:
    text = written(folder, {**dict.fromkeys(KINDS, 8), "linear": wrong})
    widths.cache_file().write_text(text)
    assert widths.read(KINDS) is None
    widths.cache_file().write_text(text.replace(f'"linear": {json.dumps(wrong)}', '"linear": 32'))
    assert widths.read(KINDS) == {**dict.fromkeys(KINDS, 8), "linear": 32}


def test_a_cache_of_another_machine_is_not_taken(
    folder: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    widths.store(dict.fromkeys(KINDS, 8))
    mine = widths.cache_file()
    monkeypatch.setattr(widths.platform, "node", lambda: "another")
    assert widths.cache_file() != mine
    mine.rename(widths.cache_file())  # copied under the other's name
    assert widths.read(KINDS) is None
    assert liked_multiples() == dict.fromkeys(KINDS, 4)


@pytest.mark.parametrize("kind", ["directory", "pipe", "link to nothing"])
def test_what_is_no_file_is_neither_read_nor_waited_for(folder: Path, asked: list[str], kind: str) -> None:
    folder.mkdir()
    path = widths.cache_file()
    {"directory": path.mkdir, "pipe": lambda: os.mkfifo(path)}.get(kind, lambda: path.symlink_to("none"))()
    assert liked_multiples() == dict.fromkeys(KINDS, 4)
    assert [entry.name for entry in folder.iterdir()] == [path.name]


def test_a_cache_that_cannot_be_written_is_done_without(
    folder: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_text("a file, not a directory")
    assert liked_multiples() == dict.fromkeys(KINDS, 4)
    folder.unlink()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert liked_multiples() == dict.fromkeys(KINDS, 4)
    assert list(folder.iterdir()) == []


def test_many_writers_at_once(folder: Path) -> None:
    """Each reads nothing or what one of them has written whole, and nothing else is left."""
    children = []
    for number in range(6):
        if not (child := os.fork()):
            for _ in range(25):
                widths.store(dict.fromkeys(KINDS, 2 ** (number % 4)))
                found = widths.read(KINDS)
                if found is None or len(set(found.values())) > 1:
                    os._exit(1)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    assert [path.name for path in folder.iterdir()] == [widths.cache_file().name]


def test_another_runtime_has_another_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = widths.cache_file()
    monkeypatch.setattr(widths, "version", lambda name: "99.0")
    assert widths.cache_file() != one


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [8, 13])
def test_chains_run_in_onnxruntime(kind: str, width: int) -> None:
    model, feed = chain(kind, width)
    (output,) = exporting.feeder(exporting.session(model), feed)()
    assert output.shape == feed["x"].shape
    assert numpy.isfinite(output).all()

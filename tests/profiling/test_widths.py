"""Liked widths from given times; the cache; and the small models that are timed."""

from __future__ import annotations

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


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"linear": 8}',
        '{"convolution": 0}',
        "\x00",
        '{"convolution": 8, "depthwise": 8, "grouped": 8, "linear": "8", "attention": 1}',
    ],
)
def test_a_damaged_cache_is_learned_anew(folder: Path, asked: list[str], text: str) -> None:
    folder.mkdir()
    widths.cache_file().write_text(text)
    assert liked_multiples() == dict.fromkeys(KINDS, 4)
    assert asked == list(KINDS)
    assert widths.read(KINDS) == dict.fromkeys(KINDS, 4)


def test_a_cache_that_cannot_be_written_is_done_without(
    folder: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_text("a file, not a directory")
    assert liked_multiples() == dict.fromkeys(KINDS, 4)


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

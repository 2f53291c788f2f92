"""Files that may come from anyone: bounded before they are understood."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typing_extensions import NotRequired, TypedDict

from graphprune.ground.documents import (
    DEPTH,
    check_regular,
    fitted,
    machine_memory,
    parse_json,
    parse_toml,
    read_json,
    read_text,
)
from graphprune.ground.errors import InputError


class Person(TypedDict):
    """A schema."""

    name: str
    age: float
    tags: NotRequired[list[str]]


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize("text", ['{"a": [1, -0.5, null, "\\n"]}', nested(DEPTH), str(2**63 - 1), '"é"'])
def test_plain_json_is_read(text: str) -> None:
    assert parse_json(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (nested(DEPTH + 1), "more than 64 levels"),
        (nested(10**5), "more than 64 levels"),
        ('{"a": ' * 10**5, "more than 64 levels"),
        ("[NaN]", "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        ("[1e999]", "inf is out of range"),
        (str(2**63), "out of range"),
        (str(-(2**63) - 1), "out of range"),
        ("9" * 5000, "4300 digits"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' stands there twice"),
        ('["\\u001b[2J"]', "a control character"),
        ('["\\ud800"]', "a control character"),
        ('{"\\u0007": 1}', "a control character"),
        ("{", "it is not JSON"),
        ("", "it is not JSON"),
    ],
)
def test_json_beyond_bounds_is_refused(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        parse_json(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", [f"a = {'[' * 5000}", "a", "a = 1\na = 2", 'a = "\\u0007"'])
def test_toml_beyond_bounds_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_toml(text)


def test_numbers_of_toml_are_bounded_by_what_they_are_for() -> None:
    assert parse_toml("a = inf\nb = 99999999999999999999") == {"a": float("inf"), "b": 99999999999999999999}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ({"age": 1}, "it has no name"),
        ({"name": "x", "age": "1"}, "age: Input should be a valid number"),
        ({"name": "x", "age": True}, "age: Input should be a valid number"),
        ({"name": "x", "age": 1, "tags": ["a", 2]}, r"tags\.1: Input should be a valid string"),
        ([], "it is not a JSON object"),
        (None, "it is not a JSON object"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(found: object, why: str) -> None:
    with pytest.raises(InputError, match=why):
        fitted(Person, found)


def test_what_fits_is_left_as_it_is(tmp_path: Path) -> None:
    found = {"name": "x", "age": 1, "more": [1]}
    (tmp_path / "x.json").write_text(json.dumps(found))
    assert read_json(tmp_path / "x.json", Person) == found


def test_only_regular_files_of_bounded_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "long").write_text("x" * 11)
    for name, why in (
        ("pipe", "no regular file"),
        ("link", "no regular file"),
        (".", "it is a directory"),
        ("long", "it has 11 bytes, more than 10"),
        ("none", "No such file"),
    ):
        with pytest.raises(InputError, match=why):
            read_text(tmp_path / name, 10)
    check_regular(tmp_path / "long")
    (tmp_path / "bytes").write_bytes(b"\xff")
    with pytest.raises(InputError, match="it is not text"):
        read_text(tmp_path / "bytes")


def test_the_machine_has_memory() -> None:
    assert machine_memory() > 2**28

"""ONNX files on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.importing.test_tracing import network, normal


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return network(tmp_path)


def test_a_file_is_shrunk_and_verified(original: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    np.savez(tmp_path / "feed.npz", image=normal(1, 3, 16, 16))
    slim, feed = tmp_path / "slim", tmp_path / "feed.npz"
    made = run("shrink", original, "--macs", 0.5, "--feed", feed, "-o", slim, "--no-latency")
    assert made.exit_code == 0, made.output
    assert "Verified" in made.stdout
    checked = run("verify", slim, "--model", original, "--json")
    assert checked.exit_code == 0, checked.output
    rows = {row["name"]: row["passed"] for row in json.loads(checked.stdout)["checks"]}
    assert rows["model.onnx is the original file, cut by the plan"]
    unnamed = json.loads(run("verify", slim, "--json").stdout)["checks"]
    assert any("read only if named" in row["detail"] for row in unnamed)


def test_verify_finds_a_file_that_was_changed(
    original: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    import onnx

    slim = tmp_path / "slim"
    run("shrink", original, "--macs", 0.5, "--input", "image=1,3,16,16", "-o", slim, "--no-latency")
    model = onnx.load(slim / "model.onnx")
    model.metadata_props.add(key="author", value="somebody else")
    onnx.save(model, slim / "model.onnx")
    checked = run("verify", slim, "--model", original, "--json")
    assert checked.exit_code == 4
    rows = {row["name"]: row["passed"] for row in json.loads(checked.stdout)["checks"]}
    assert rows["model.onnx is the original file, cut by the plan"] is False


def test_calibration_by_the_names_of_inputs(original: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    np.savez(tmp_path / "data.npz", image=normal(8, 3, 16, 16))
    made = run(
        *("shrink", original, "--macs", 0.5, "--input", "image=1,3,16,16", "-o", tmp_path / "slim"),
        *(
            "--calibration",
            tmp_path / "data.npz",
            "--importance",
            "activation_variance",
            "--repair",
            "--no-latency",
        ),
    )
    assert made.exit_code == 0, made.output


def test_other_commands_read_files(original: Path, run: Callable[..., Any]) -> None:
    shape = ("--input", "image=1,3,16,16")
    assert "2 groups" in run("inspect", original, *shape).stdout
    assert "second" in run("explain", original, "first.Conv", *shape).stdout
    dry = run("shrink", original, "--macs", 0.5, "--input-shape", "1,3,16,16", "--dry-run", "--json")
    assert json.loads(dry.stdout)["after"]["macs"] > 0
    measured = run("sensitivity", original, *shape, "--ratios", "0.5", "--json")
    assert measured.exit_code == 0, measured.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--input", "image"), "is not NAME=SIZES"),
        (("--input", "picture=1,3,16,16"), "the file has no input 'picture'"),
        (("--input", "image=1,3"), "is given with the shape"),
        (("--input", "image=1,3,16,16", "--input", "image=1,3,8,8"), "is given twice"),
        (("--feed", "none.npz"), "cannot be read"),
        (("--input", "image=1,3,8,8", "--input-shape", "1,3,8,8"), "say all shapes in one way"),
        (("--weights", "w.pt"), "the file has its own"),
        (("--lossless",), "has no place for"),
    ],
)
def test_what_does_not_fit_is_refused(
    original: Path, tmp_path: Path, refused: Callable[..., str], options: tuple[str, ...], message: str
) -> None:
    budget = () if "--lossless" in options else ("--macs", 0.5)
    assert message in refused("shrink", original, *budget, *options, "-o", tmp_path / "slim")


def test_inputs_by_name_are_for_files(tmp_path: Path, refused: Callable[..., str]) -> None:
    said = refused("shrink", "zoo:mlp", "--macs", 0.5, "--input", "x=1,8", "-o", tmp_path / "slim")
    assert "are for ONNX files" in said


def test_a_file_that_is_none(tmp_path: Path, refused: Callable[..., str]) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"PK" + bytes(100))
    assert "cannot be read" in refused("shrink", path, "--macs", 0.5, "-o", tmp_path / "slim")

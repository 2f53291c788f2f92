"""``graphprune tune``: a result directory is fine-tuned, and nothing is lost where that fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit

import graphprune as gp
from models_zoo.digits import evaluate

STOPPING = """
calls = 0

def stops(model):
    global calls
    calls += 1
    if calls == 4:  # the original, the slim model, after one epoch, after two
        raise KeyboardInterrupt
    return calls

def goes_on(model):
    return 9.0
"""


@pytest.fixture
def slim(result_folder: Path, tmp_path: Path) -> Path:
    """A copy to be tuned."""
    return Path(shutil.copytree(result_folder, tmp_path / "slim"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_accuracy_comes_back_in_place(run: Callable[..., Any], slim: Path) -> None:
    before = evaluate(gp.load(slim))["accuracy"]
    shrunk_with = tomlkit.parse((slim / "shrink.toml").read_text())
    options = ("--epochs", 2, "--lr", 2e-3, "--batch", 64, "--features", 0.1, "--no-latency", "--json")
    result = run("tune", slim, "--data", "zoo:digits", *options)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    after = evaluate(gp.load(slim))["accuracy"]
    assert after > 0.97
    assert after > before + 0.1
    assert report["tuning"]["metric"]["before"] == pytest.approx(before)
    assert report["tuning"]["metric"]["best"] == report["evaluation"]["after"]["accuracy"] == after
    assert report["tuning"]["steps"] == 46
    said = tomlkit.parse((slim / "tune.toml").read_text())
    assert (said["data"], said["epochs"], said["features"]) == ("zoo:digits", 2, 0.1)
    assert tomlkit.parse((slim / "shrink.toml").read_text()) == shrunk_with
    assert any("onnxruntime" in check["name"] for check in report["verdict"]["checks"])
    assert [path.name for path in slim.parent.iterdir()] == ["slim"]  # the checkpoint is gone
    verified = run("verify", slim, "--json")
    assert verified.exit_code == 0
    rows = {row["name"]: row for row in json.loads(verified.stdout)["checks"]}
    assert "fine-tuned" in rows["plan replayed on the original gives the same tensors"]["detail"]


def test_an_interrupted_run_goes_on(run: Callable[..., Any], slim: Path, tmp_path: Path) -> None:
    script, before = tmp_path / "judge.py", contents(slim)
    script.write_text(STOPPING)
    command = ("tune", slim, "--data", "zoo:digits", "--epochs", 3, "--batch", 256, "--no-latency")
    stopped = run(*command, "-o", tmp_path / "tuned", "--evaluate", f"{script}:stops")
    assert stopped.exit_code == 130
    checkpoint = tmp_path / "tuned.checkpoint.safetensors"
    assert f"the same command goes on from {checkpoint}" in stopped.stderr.replace("\n", "")
    assert checkpoint.is_file()
    assert not (tmp_path / "tuned").exists()
    assert contents(slim) == before
    done = run(*command, "-o", tmp_path / "tuned", "--evaluate", f"{script}:goes_on", "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["tuning"]["resumed_at"] == 6
    assert report["tuning"]["steps"] == 18
    assert contents(slim) == before
    assert not checkpoint.exists()


def test_training_is_replaced_by_force_alone(
    run: Callable[..., Any], refused: Callable[..., str], slim: Path
) -> None:
    command = ("tune", slim, "--data", "zoo:digits", "--steps", 1, "--no-latency", "--quiet")
    assert run(*command).exit_code == 0
    tuned = contents(slim)
    lost = "holds a model that was fine-tuned for 1 steps: that would be lost — choose a new or empty directory, or"
    again = ("shrink", "zoo:digits_resnet", "--ratio", 0.5, "--no-latency", "--quiet", "-o", slim)
    for other in (command, again):
        assert f"{lost} replace it with --force (force=True)" in refused(*other)
    assert contents(slim) == tuned
    assert run(*again, "--force").exit_code == 0
    assert "tuning" not in json.loads((slim / "report.json").read_text())
    assert "force" not in (slim / "shrink.toml").read_text()


def test_a_run_that_was_killed_when_its_result_was_complete(
    run: Callable[..., Any], refused: Callable[..., str], slim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("tune", slim, "--data", "zoo:digits", "--steps", 1, "--no-latency", "--json")
    checkpoint = slim.with_name("slim.checkpoint.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        first = json.loads(run(*command).stdout)
    assert checkpoint.is_file()
    tuned, kept = contents(slim), checkpoint.read_bytes()
    assert "would be lost" in refused(*command[:-1], "--lr", 0.1)  # other settings are another run
    assert not checkpoint.exists()
    checkpoint.write_bytes(kept)
    assert json.loads(run(*command).stdout) == first
    assert contents(slim) == tuned
    assert not checkpoint.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--data", "nowhere"), "there is no data nowhere"),
        (("--data", "zoo:nothing"), "the zoo has no data 'nothing'"),
        (("--data", "zoo:faces"), "the zoo's faces are not of the shape that the model takes, (1, 8, 8)"),
        (("--data", "zoo:digits", "--lr", 0), "lr=0 is out of range"),
        (("--data", "zoo:digits", "--mean", "white"), "--mean 'white' is no list of numbers"),
        (("--data", "zoo:digits", "--evaluate", "accuracy"), "--evaluate 'accuracy' names no function"),
        (("--data", "zoo:digits", "--teacher", "zoo:mlp"), "the model mlp has no published weights"),
        (("--data", "zoo:digits", "--weights", "none"), "zoo:digits_resnet has other weights here"),
    ],
)
def test_refusals(
    refused: Callable[..., str], result_folder: Path, options: tuple[object, ...], said: str
) -> None:
    before = contents(result_folder)
    assert said in refused("tune", result_folder, *options)
    assert contents(result_folder) == before


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_named_by_whatever_process_reads_it(
    run: Callable[..., Any], tmp_path: Path, slim: Path, workers: int
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "bad.png").write_text("no image")
    done = run("tune", slim, "--data", tmp_path / "images", "--workers", workers, "--steps", 1, "--json")
    assert done.exit_code == 2
    assert "bad.png cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["message"].startswith("the image ")
    assert error["remedy"] == "take it out of the folder"


def test_what_is_no_result(refused: Callable[..., str], tmp_path: Path, slim: Path) -> None:
    assert "there is no directory" in refused("tune", tmp_path / "none", "--data", "zoo:digits")
    (slim / "model.safetensors").write_bytes(b"\x80\x04K\x01.")
    assert "is a pickle" in refused("tune", slim, "--data", "zoo:digits")


def test_a_file_of_python_is_run_only_where_it_is_named(refused: Callable[..., str], slim: Path) -> None:
    report = json.loads((slim / "report.json").read_text())
    report["source"]["model"] = "net.py:make"
    (slim / "report.json").write_text(json.dumps(report))
    text = refused("tune", slim, "--data", "zoo:digits")
    assert "run only if named: --teacher net.py:make" in text

"""shrink --repair, what it shows and writes, and `graphprune verify` of its result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

Run = Callable[..., Any]


@pytest.fixture
def batches(tmp_path: Path) -> Path:
    x = numpy.random.default_rng(0).normal(size=(80, 6)).astype("float32")
    numpy.save(tmp_path / "x.npy", x)
    return tmp_path / "x.npy"


@pytest.fixture
def repaired(run: Run, net: Path, batches: Path, tmp_path: Path) -> Path:
    options = ("--ratio", 0.5, "--calibration", batches, "--repair", "--no-latency")
    done = run("shrink", f"{net}:with_inputs", *options, "-o", tmp_path / "slim")
    assert done.exit_code == 0, done.output
    for text in ("repaired layer", "error before", "weights", "Repair: error of the outputs on 3 batches"):
        assert text in done.output
    return tmp_path / "slim"


def rows(done: Any) -> dict[str, Any]:
    return {row["name"]: row for row in json.loads(done.stdout)["checks"]}


def test_the_report_says_what_was_repaired(repaired: Path) -> None:
    report = json.loads((repaired / "report.json").read_text())
    found = report["repair"]
    assert found["kept"] is True
    assert found["after"] < found["before"]
    assert found["tensors"] == ["2.weight", "2.bias"]
    assert [(step["layer"], step["kind"]) for step in found["steps"]] == [("2", "weights")]
    assert report["verdict"]["passed"]
    assert report["request"]["repair"]["weights"] is True


def test_verify_replays_the_cut_and_says_what_was_repaired(run: Run, net: Path, repaired: Path) -> None:
    done = run("verify", repaired, "--model", f"{net}:with_inputs", "--json")
    assert done.exit_code == 0, done.output
    found = rows(done)
    assert "slim model equals the masked original" not in found
    assert found["the cut before the repair equals the masked original"]["passed"]
    assert found["plan replayed on the original gives the same tensors but for repaired ones"]["passed"]
    assert found["repaired tensors have the shapes of the cut"]["passed"]


def test_what_was_repaired_stays_in_the_report_after_tuning(
    run: Run, refused: Callable[..., str], net: Path, batches: Path, repaired: Path, tmp_path: Path
) -> None:
    before = json.loads((repaired / "report.json").read_text())["repair"]
    damaged = Path(shutil.copytree(repaired, tmp_path / "damaged"))
    done = run(
        "tune", repaired, "--data", batches, "--steps", 2, "--teacher", f"{net}:with_inputs", "--no-latency"
    )
    assert done.exit_code == 0, done.output
    assert json.loads((repaired / "report.json").read_text())["repair"] == before
    page = (repaired / "report.html").read_text()
    assert "Repair without training" in page
    assert "On 3 calibration batches" in page
    report = json.loads((damaged / "report.json").read_text())
    report["repair"]["steps"] = [{"name": "0"}]
    (damaged / "report.json").write_text(json.dumps(report))
    said = refused("tune", damaged, "--data", batches, "--steps", 2, "--teacher", f"{net}:with_inputs")
    assert "the report of the repair is damaged" in said


@pytest.mark.parametrize(("name", "value"), [("0.weight", 0.5), ("2.weight", float("nan"))])
def test_verify_finds_other_tensors_changed_and_repaired_ones_damaged(
    run: Run, net: Path, repaired: Path, tmp_path: Path, name: str, value: float
) -> None:
    damaged = Path(shutil.copytree(repaired, tmp_path / "damaged"))
    path = damaged / "model.safetensors"
    import safetensors

    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors[name] = torch.full_like(tensors[name], value)
    save_file(tensors, path, metadata)
    done = run("verify", damaged, "--model", f"{net}:with_inputs", "--json")
    assert done.exit_code == 4
    failed = {check for check, row in rows(done).items() if row["passed"] is False}
    assert any("replayed" in check or "shapes of the cut" in check for check in failed)


def test_a_plan_can_be_replayed_and_repaired_again(
    run: Run, net: Path, batches: Path, repaired: Path, tmp_path: Path
) -> None:
    options = ("--plan", repaired / "plan.json", "--calibration", batches, "--repair", "--no-latency")
    done = run("shrink", f"{net}:with_inputs", *options, "-o", tmp_path / "again")
    assert done.exit_code == 0, done.output
    one, other = (load_file(folder / "model.safetensors") for folder in (repaired, tmp_path / "again"))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twelve pictures of digits, the kinds one after the other."""
    from PIL import Image

    from models_zoo.digits import read_digits

    pictures, labels = read_digits()
    folder = tmp_path / "images"
    folder.mkdir()
    for place, row in enumerate(labels.argsort()[:: len(labels) // 12][:12].tolist()):
        pixels = (pictures[row, 0] * 255).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / f"{place:02}.png")
    return folder


def test_calibration_from_the_zoo_and_from_a_folder(run: Run, images: Path, tmp_path: Path) -> None:
    start = ("shrink", "zoo:digits_resnet", "--macs", 0.5, "--align", 1, "--repair", "--no-latency")
    start = (*start, "--importance", "refit", "--ranking", "per_cost")
    done = run(*start, "--calibration", "zoo:digits", "-o", tmp_path / "slim")
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "slim" / "report.json").read_text())
    assert report["repair"]["batches"] == 46  # of 1,442 images, 32 each
    assert report["evaluation"]["after"]["accuracy"] > report["evaluation"]["before"]["accuracy"] - 0.02
    steps = sorted(report["repair"]["steps"], key=lambda step: step["after"] - step["before"])
    assert len(steps) > 16
    assert f"and {len(steps) - 16} layers where the error fell less, see report.html" in done.output
    assert all((f" {step['layer']} " in done.output) == (place < 16) for place, step in enumerate(steps))
    one = ("--calibration", images, "--mean", "0", "--std", "1", "-o", tmp_path / "other")
    done = run(*start, *one)
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "other" / "report.json").read_text())
    assert report["repair"]["batches"] == 1
    plan = ("--plan", tmp_path / "other" / "plan.json", "--no-latency", "-o", tmp_path / "cut")
    assert run("shrink", "zoo:digits_resnet", *plan).exit_code == 0
    cut = json.loads((tmp_path / "cut" / "report.json").read_text())
    gained = [found["evaluation"]["after"]["accuracy"] for found in (cut, report)]
    assert gained[1] > gained[0] + 0.1  # by twelve pictures alone
    again = run("shrink", "--config", tmp_path / "other" / "shrink.toml", "-o", tmp_path / "again")
    assert again.exit_code == 0, again.output
    tensors = [load_file(tmp_path / name / "model.safetensors") for name in ("other", "again")]
    assert all(torch.equal(tensor, tensors[1][name]) for name, tensor in tensors[0].items())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--calibration", "zoo:digit"), "the zoo has no data 'digit' — "),
        (("--calibration", "zoo:faces"), "the zoo's faces are not of the shape that the model takes"),
        (("--calibration", "zoo:digits", "--mean", "0.5"), "--mean and --std have no effect — they are for"),
        (("--mean", "0.5"), "--mean and --std have no effect"),
        (("--calibration", "."), "the folder . holds no images"),
        (("--calibration", "images", "--std", "a"), "--std 'a' is no list of numbers"),
    ],
)
def test_refusals_of_calibration(
    refused: Callable[..., str],
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    said: str,
) -> None:
    (images.parent / "empty").mkdir()
    monkeypatch.chdir(images.parent / "empty" if options[-1] == "." else images.parent)
    start = ("shrink", "zoo:digits_resnet", "--macs", 0.5, "--importance", "wanda", "-o", "out")
    assert said in refused(*start, *options)


def test_sensitivity_on_images(run: Run, images: Path, tmp_path: Path) -> None:
    options = ("--calibration", images, "--mean", "0", "--std", "1", "--ratios", "0.5", "--json")
    done = run("sensitivity", "zoo:digits_resnet", *options)
    assert done.exit_code == 0, done.output
    assert all(0 < value < 10 for row in json.loads(done.stdout)["groups"].values() for _, value in row)


def test_refusals(refused: Callable[..., str], net: Path, batches: Path, tmp_path: Path) -> None:
    start = ("shrink", f"{net}:with_inputs", "-o", tmp_path / "out", "--repair")
    assert "leaves nothing to repair" in refused(*start, "--lossless", "--calibration", batches)
    numpy.save(tmp_path / "nan.npy", numpy.full((4, 6), numpy.nan, dtype="float32"))
    line = refused(*start, "--ratio", 0.5, "--calibration", tmp_path / "nan.npy")
    assert "outputs for calibration batch 1 are not finite" in line
    assert not (tmp_path / "out").exists()

"""``export``: a directory of files, whole or not at all, each compared with the one that it was made of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune import exporting


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    folder = tmp_path_factory.mktemp("result") / "slim"
    result = gp.shrink(model.eval(), torch.randn(2, 3, 10, 10), macs=0.6, importance="l2", align=1)
    result.save(folder, latency=False)
    return folder


def test_all_files_beside_each_other(slim: Path, tmp_path: Path) -> None:
    data = [torch.randn(8, 3, 10, 10, generator=torch.Generator().manual_seed(seed)) for seed in range(5)]
    report = gp.export(
        slim, tmp_path / "out", fp16=True, int8=True, opset=17, calibration=data, input_names="image"
    )
    assert (
        json.loads((tmp_path / "out" / "export.json").read_text())["files"].keys() == report["files"].keys()
    )
    assert list(report["files"]) == ["model.onnx", "model_fp16.onnx", "model_int8.onnx"]
    plan = hashlib.sha256((slim / "plan.json").read_bytes()).hexdigest()
    for name, row in report["files"].items():
        file = onnx.load(tmp_path / "out" / name)
        notes = {item.key: item.value for item in file.metadata_props}
        assert notes["graphprune.plan"] == plan
        assert json.loads(notes["graphprune.budget"]) == {"macs": 0.6}
        assert json.loads(notes["graphprune.versions"])["graphprune"] == gp.__version__
        assert notes["graphprune.precision"] == {"model": "float32", "model_fp16": "float16"}.get(
            name[:-5], "int8"
        )
        assert row["bytes"] == (tmp_path / "out" / name).stat().st_size
        assert row["opset"] == 17
        assert list(row["inputs"]) == ["image"]
        assert row["fidelity"]["held_out"]
        assert row["fidelity"]["examples"] == 8
        assert row["fidelity"]["data"] == "your calibration data"
        assert row["latency"]["slim_ms"] > 0
    errors = [row["fidelity"]["error"] for row in report["files"].values()]
    assert errors[0] < 1e-6 < errors[1] < errors[2] < 0.1


def test_it_goes_into_the_result_and_stays_apart(slim: Path) -> None:
    """The result may be replaced with it, but not what the user has put beside the files."""
    gp.export(slim, latency=False, int8=True)
    place = slim / "deploy"
    assert (place / "model_int8.onnx").is_file()
    gp.export(slim, latency=False)  # another one takes its place as a whole
    assert not (place / "model_int8.onnx").exists()
    exporting.ensure_writable(slim)
    (place / "labels.txt").write_text("mine")
    with pytest.raises(gp.InputError, match=r"labels\.txt"):
        exporting.ensure_writable(slim)
    with pytest.raises(gp.InputError, match=r"labels\.txt"):
        gp.export(slim, latency=False)
    (place / "labels.txt").unlink()


def test_a_fixed_batch_and_a_file_alone(slim: Path, tmp_path: Path) -> None:
    data = [torch.randn(4, 3, 10, 10) for _ in range(3)]
    report = gp.export(
        slim / "model.onnx", tmp_path / "out", latency=True, dynamic="none", int8=True, calibration=data
    )
    row = report["files"]["model_int8.onnx"]
    assert all(isinstance(size, int) for sizes in row["inputs"].values() for size in sizes)
    assert next(iter(row["inputs"].values())) == [1, 3, 10, 10]  # sizes are those of the examples
    assert row["latency"]["batch"] == 1
    assert "plan" not in {item.key for item in onnx.load(tmp_path / "out" / "model.onnx").metadata_props}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"int4": True}, "there is no option 'int4'"),
        ({"opset": 99}, "opset=99 is out of range"),
        ({"max_error": -1.0}, "max_error"),
        ({"calibration": torch.randn(4, 1, 10, 10)}, "input"),
        ({"calibration": []}, "no batches"),
    ],
)
def test_refusals_write_nothing(slim: Path, tmp_path: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(gp.InputError, match=said):
        gp.export(slim, tmp_path / "out", latency=False, **options)
    assert not list(tmp_path.iterdir())


def test_what_is_no_float32_is_refused(slim: Path, tmp_path: Path) -> None:
    gp.export(slim, tmp_path / "out", latency=False, int8=True, fp16=True)
    with pytest.raises(gp.InputError, match="quantised already"):
        gp.export(tmp_path / "out" / "model_int8.onnx", tmp_path / "again")
    with pytest.raises(gp.InputError, match="float16"):
        gp.export(tmp_path / "out" / "model_fp16.onnx", tmp_path / "again")
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x09broken")
    with pytest.raises(gp.InputError, match=r"broken\.onnx cannot be read"):
        gp.export(tmp_path / "broken.onnx", tmp_path / "again")
    with pytest.raises(gp.InputError, match="where do the files"):
        gp.export(slim / "model.onnx")

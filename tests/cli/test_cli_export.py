"""``graphprune export``, and the same options of ``shrink``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_a_table_of_files(run: Callable[..., Any], result_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "deploy"
    arguments = ("export", result_folder, "--int8", "--calibration", "zoo:digits", "--no-latency", "-o", out)
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert "model_int8.onnx" in done.stdout
    assert "held-out examples of your calibration data" in " ".join(done.stdout.split())
    found = json.loads(run(*arguments, "--json").stdout)
    assert found["directory"] == str(out)
    assert found["files"]["model_int8.onnx"]["fidelity"]["error"] < 0.1


def test_poor_files_are_called_so(run: Callable[..., Any], result_folder: Path, tmp_path: Path) -> None:
    """Ranges of numbers that are a thousand times as large leave nothing of digits."""
    import numpy

    data = numpy.zeros((8, 1, 8, 8), "float32")
    data[:6] = 1000
    data[6:] = numpy.random.default_rng(0).normal(size=(2, 1, 8, 8))
    path = tmp_path / "far.npz"
    (tmp_path / "data.py").write_text(
        f"import numpy, torch\ndef batches():\n    rows = torch.from_numpy(numpy.load({str(path)!r})['arr_0'])\n"
        "    return [rows[start : start + 1] for start in range(8)]\n"
    )
    numpy.savez(path, data)
    calibration = f"{tmp_path / 'data.py'}:batches"
    done = run(
        *("export", result_folder, "--int8", "--max-error", "1000", "--calibration", calibration),
        *("--no-latency", "-o", tmp_path / "deploy"),
    )
    assert done.exit_code == 0, done.output
    assert "model_int8.onnx answers otherwise: do not deploy it" in " ".join(done.stdout.split())


def test_shrink_writes_them_beside_its_result(run: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "slim"
    shrunk = ("shrink", "zoo:digits_resnet", "--ratio", "0.5", "--fast", "--no-latency", "--int8", "-o", out)
    done = run(*shrunk, "--output-names", "digit", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["export"]["files"]["model_int8.onnx"]["outputs"] == ["digit"]
    assert (out / "deploy" / "model_int8.onnx").is_file()
    assert "int8 = true" in (out / "shrink.toml").read_text()
    assert run("verify", out).exit_code == 0


def test_refusals(refused: Callable[..., str], result_folder: Path, tmp_path: Path, net: Path) -> None:
    assert "no directory" in refused("export", tmp_path / "nowhere")
    assert "is out of range" in refused("export", result_folder, "--opset", "3", "-o", tmp_path / "out")
    assert "opset" in refused(
        "shrink", f"{net}:with_inputs", "--ratio", "0.5", "--opset", "3", "-o", tmp_path / "o"
    )
    assert not (tmp_path / "out").exists()

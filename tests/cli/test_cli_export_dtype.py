"""--export-dtype: models in bfloat16 on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def half(tmp_path: Path) -> Path:
    path = tmp_path / "half.py"
    path.write_text(
        "import torch\nfrom torch import nn\n\n\ndef make():\n"
        "    torch.manual_seed(0)\n"
        "    layers = nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 1)\n"
        "    model = nn.Sequential(*layers).bfloat16().eval()\n"
        "    return model, torch.randn(2, 3, 8, 8).bfloat16()\n"
    )
    return path


def test_without_it_the_rest_is_written_and_the_remedy_is_said(
    run: Callable[..., Any], half: Path, tmp_path: Path
) -> None:
    done = run("shrink", f"{half}:make", "--ratio", 0.5, "--align", 1, "-o", tmp_path / "slim")
    assert done.exit_code == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "Note: no model.onnx was written: onnxruntime cannot load model.onnx" in said
    assert "--export-dtype float32" in said
    checked = run("verify", tmp_path / "slim", "--model", f"{half}:make", "--json")
    assert checked.exit_code == 0, checked.stderr
    rows = {row["name"]: row for row in json.loads(checked.stdout)["checks"]}
    assert rows["ONNX file passes the checker"]["passed"] is None
    assert "onnxruntime cannot load model.onnx" in rows["ONNX file passes the checker"]["detail"]


def test_with_it_the_file_is_there_and_verified_again(
    run: Callable[..., Any], half: Path, tmp_path: Path
) -> None:
    options = ("--ratio", 0.5, "--align", 1, "--export-dtype", "float32", "--no-latency")
    run("shrink", f"{half}:make", *options, "-o", tmp_path / "slim")
    assert (tmp_path / "slim" / "model.onnx").exists()
    checked = run("verify", tmp_path / "slim", "--model", f"{half}:make", "--json")
    assert checked.exit_code == 0, checked.stderr
    rows = [row for row in json.loads(checked.stdout)["checks"] if row["name"].startswith("onnxruntime")]
    assert len(rows) == 2
    assert all(row["passed"] and row["figure"] < 3e-2 for row in rows)

"""A file that cannot grow, as on a full disk: one line that names the result, and what was there stays."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.tuning.checkpoint import Checkpoint


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file may become larger than ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def result() -> gp.Result:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 4))
    return gp.shrink(model.eval(), torch.zeros(2, 16), ratio=0.5, align=1)


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors", "report.html"])
def test_a_result_that_does_not_fit(name: str, result: gp.Result, tmp_path: Path) -> None:
    result.save(tmp_path / "out", latency=False)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    without = {"onnx": name == "model.onnx"}  # the ONNX file holds the same numbers
    with (
        files_up_to(len(before[name]) * 9 // 10),
        pytest.raises(gp.InputError, match=f"^{tmp_path / 'out'} cannot be written: a file becomes larger"),
    ):
        result.save(tmp_path / "out", latency=False, **without)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_checkpoint_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.safetensors"
    Checkpoint({"model": {"weight": torch.zeros(4)}}, {"run": 1}).write(path)
    before = path.read_bytes()
    with files_up_to(4096), pytest.raises(gp.InputError, match=f"^{path} cannot be written: a file becomes"):
        Checkpoint({"model": {"weight": torch.zeros(4096)}}, {"run": 1}).write(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_points_that_were_measured_stay(result: gp.Result, tmp_path: Path) -> None:
    path, options = tmp_path / "points.jsonl", {"ratios": (0.25, 0.5)}
    gp.sensitivity(result.graph, path=path, **options)
    before = path.read_text()
    with files_up_to(len(before) // 2), pytest.raises(gp.InputError, match=f"^{path} cannot be written"):
        gp.sensitivity(result.graph, path=path, **options)
    assert path.read_text() == before

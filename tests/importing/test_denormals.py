"""Numbers too small for processors become zeros, apart from what pruning does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import graphprune as gp
from graphprune.importing import reading
from graphprune.importing.denormals import denormals_of, flushed
from tests.importing.building import graph_of, node
from tests.importing.test_tracing import normal

TINY = np.float32(1e-40)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    nodes = [
        node("Conv", ["x", "w1"], ["a"], name="first"),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "w2"], ["y"], name="second"),
    ]
    constants = {"w1": normal(8, 3, 3, 3), "w2": normal(4, 8, 3, 3)}
    constants["w1"][:, 0] = TINY
    path = tmp_path / "model.onnx"
    onnx.save(graph_of(nodes, {"x": ["n", 3, 8, 8]}, ["y"], constants), path)
    return path


def array(model: Any, name: str) -> Any:
    return next(onnx.numpy_helper.to_array(item) for item in model.graph.initializer if item.name == name)


def test_they_are_counted_and_become_zeros(file: Path) -> None:
    model = onnx.load(file)
    assert denormals_of(model) == {"w1": 8 * 9}
    made = flushed(model)
    assert denormals_of(made) == {}
    assert np.array_equal(
        array(made, "w1"), np.where(np.abs(array(model, "w1")) < 1e-38, 0, array(model, "w1"))
    )
    assert flushed(made) is made


def test_a_result_has_none_and_says_what_they_cost(file: Path, tmp_path: Path) -> None:
    result = gp.shrink(file, ratio=0.5, align=1)
    assert any("72 denormal numbers" in note for note in result.graph.program.notes)
    report = result.save(tmp_path / "slim")
    assert denormals_of(onnx.load(tmp_path / "slim" / "model.onnx")) == {}
    assert report["tidied"]["original_ms"] > 0
    assert any("what was changed when the file was read, alone" in note for note in report["notes"])
    assert json.loads((tmp_path / "slim" / "report.json").read_text())["verdict"]["passed"]


def test_they_stay_where_that_is_asked_for(file: Path, tmp_path: Path) -> None:
    result = gp.shrink(file, ratio=0.5, align=1, keep_denormals=True)
    result.save(tmp_path / "slim", latency=False)
    assert denormals_of(onnx.load(tmp_path / "slim" / "model.onnx"))
    with pytest.raises(gp.InputError, match="when they are read"):
        gp.shrink(gp.trace(file), ratio=0.5, keep_denormals=True)


def test_they_stay_where_an_output_would_change(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where something multiplies them to what can be seen."""
    monkeypatch.setattr(reading, "is_equal", lambda result, expected, most=1e-3: most != reading.SAME)
    assert reading.open_file(file).module.tidied == ()

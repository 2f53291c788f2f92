"""Files without what depends on constants alone, and without what nobody reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

import graphprune as gp
from graphprune.cli.app import app
from graphprune.importing.simplified import LARGE, simplified
from tests.importing.building import graph_of, in_onnxruntime, node
from tests.importing.test_tracing import normal


def network() -> onnx.ModelProto:
    """A weight that is computed of two, a shape that is put together, a dead branch, an unread constant."""
    nodes = [
        node("Mul", ["w1", "gain"], ["weight"], name="scaled"),
        node("MatMul", ["x", "weight"], ["a"], name="first"),
        node("Relu", ["a"], ["b"], name="relu"),
        node("Concat", ["one", "rest"], ["shape"], axis=0, name="shape"),
        node("Reshape", ["b", "shape"], ["c"], name="flat"),
        node("Tanh", ["b"], ["dead"], name="dead"),
        node("MatMul", ["c", "w2"], ["y"], name="last"),
    ]
    constants = {
        "w1": normal(6, 16),
        "gain": np.float32(2),
        "w2": normal(16, 3),
        "one": np.array([-1]),
        "rest": np.array([16]),
        "unread": normal(4),
    }
    return graph_of(nodes, {"x": ["n", 6]}, ["y"], constants, opset=17)


def run(command: str) -> None:
    result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 0, result.output


def names(model: onnx.ModelProto) -> list[str]:
    return [item.name for item in model.graph.node]


def test_constants_are_computed_and_dead_nodes_go() -> None:
    model, x = network(), normal(5, 6)
    less = simplified(model)
    onnx.checker.check_model(less)
    assert names(less) == ["first", "relu", "flat", "last"]
    assert {item.name for item in less.graph.initializer} == {"weight", "w2", "shape"}
    np.testing.assert_array_equal(in_onnxruntime(less, [x])[0], in_onnxruntime(model, [x])[0])
    assert names(simplified(less)) == names(less)


def test_what_would_be_much_larger_stays_computed() -> None:
    nodes = [
        node("Expand", ["small", "wide"], ["large"], name="expand"),
        node("Add", ["x", "large"], ["y"], name="add"),
    ]
    constants = {"small": normal(1), "wide": np.array([LARGE])}
    model = graph_of(nodes, {"x": ["n", LARGE]}, ["y"], constants, opset=17)
    assert names(simplified(model)) == ["expand", "add"]


def test_it_is_done_when_asked_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(network(), "model.onnx")
    run("shrink model.onnx --macs 0.5 --simplify -o slim --quiet")
    slim = onnx.load("slim/model.onnx")
    assert names(slim) == ["first", "relu", "flat", "last"]
    report: dict[str, Any] = json.loads(Path("slim/report.json").read_text())
    assert any("3 nodes that only constants need, or nobody, are gone" in note for note in report["notes"])
    assert report["tidied"]["original_ms"] > 0
    assert gp.trace("model.onnx").program.notes == ()
    run("verify slim --model model.onnx")


def test_constants_that_old_files_list_as_inputs_stay() -> None:
    model, listed = network(), onnx.helper.make_tensor_value_info("unread", 1, [4])
    model.graph.input.append(listed)
    less = simplified(model)
    assert [item.name for item in less.graph.input] == ["x", "unread"]
    assert "unread" in {item.name for item in less.graph.initializer}


def test_a_plan_records_what_a_traced_file_was_asked(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(network(), path)
    plan = gp.shrink(gp.trace(path, simplify=True), ratio=0.5, align=1).plan
    assert plan.request["simplify"] is True
    assert "simplify" not in gp.shrink(gp.trace(path), ratio=0.5, align=1).plan.request


def test_it_is_for_files() -> None:
    with pytest.raises(gp.InputError, match="are for ONNX files when they are read"):
        gp.shrink(torch.nn.Linear(4, 4), torch.randn(1, 4), ratio=0.5, simplify=True)

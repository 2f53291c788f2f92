"""ONNX files through the public functions: traced and planned, their symbols as names of sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

import graphprune as gp
from graphprune.capture.raising import raise_program
from graphprune.importing import reading
from tests.importing.building import graph_of, in_onnxruntime, node

RANDOM = np.random.default_rng(3)


def normal(*shape: int) -> Any:
    return RANDOM.standard_normal(shape).astype(np.float32) / 4


def network(tmp_path: Path) -> Path:
    """Two convolutions and a norm, their channels laid out by computed shapes, and a linear layer as MatMul and Add."""
    nodes = [
        node("Conv", ["image", "w1"], ["a"], name="/first/Conv", pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["a", "s", "b", "m", "v"], ["c"], name="/first/norm"),
        node("Relu", ["c"], ["d"]),
        node("Conv", ["d", "w2"], ["e"], name="/second/Conv", strides=[2, 2], auto_pad="SAME_UPPER"),
        node("Shape", ["e"], ["shape"]),
        node("Slice", ["shape", "zero", "two"], ["start"]),
        node("Concat", ["start", "rest"], ["wanted"], axis=0),
        node("Reshape", ["e", "wanted"], ["f"]),
        node("ReduceMean", ["f"], ["g"], axes=[2], keepdims=0),
        node("MatMul", ["g", "w3"], ["h"], name="head"),
        node("Add", ["h", "b3"], ["scores"], name="bias"),
    ]
    constants = {
        "w1": normal(8, 3, 3, 3),
        **{name: abs(normal(8)) for name in "sbmv"},
        "w2": normal(6, 8, 3, 3),
        "w3": normal(6, 4),
        "b3": normal(4),
        "zero": np.array([0]),
        "two": np.array([2]),
        "rest": np.array([-1]),
    }
    path = tmp_path / "model.onnx"
    onnx.save(graph_of(nodes, {"image": ["batch.size", 3, "rows", "columns"]}, ["scores"], constants), path)
    return path


def test_a_file_is_traced_with_its_symbols_as_names(tmp_path: Path) -> None:
    graph = gp.trace(network(tmp_path))
    assert [(at.name, at.size) for at in graph.program.dimensions] == [
        ("batch_size", 1),
        ("", 3),
        ("rows", 224),
        ("columns", 224),
    ]
    assert graph.program.dimensions[1].reason == ""
    assert {group.size for group in graph.groups} == {8, 6}
    assert "first.Conv" in graph.explain("second.Conv")


def shapes() -> onnx.ModelProto:
    """Sizes that are computed in many ways: each must stay variable in what is captured."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "i0"], ["n"]),
        node("Gather", ["s", "i2"], ["h"]),
        node("Gather", ["s", "i3"], ["w"]),
        # a mesh of places, expanded over the batch
        node("Range", ["i0", "w", "i1"], ["row"]),
        node("Cast", ["row"], ["places"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["n", "a0"], ["n1"]),
        node("Unsqueeze", ["h", "a0"], ["h1"]),
        node("Unsqueeze", ["w", "a0"], ["w1"]),
        node("Concat", ["n1", "one", "h1", "w1"], ["full"], axis=0),
        node("Expand", ["places", "full"], ["mesh"]),
        node("ConstantOfShape", ["full"], ["zeros"]),
        node("Add", ["mesh", "zeros"], ["plane"]),
        node("Concat", ["x", "plane"], ["joined"], axis=1),
        # half of the rows, resized to what the file computes with floats
        node("Div", ["h1", "two"], ["half"]),
        node("Slice", ["joined", "a0", "half", "axis2"], ["upper"]),
        node("Cast", ["w1"], ["wf"], to=TensorProto.FLOAT),
        node("Mul", ["wf", "f15"], ["wider"]),
        node("Floor", ["wider"], ["floored"]),
        node("Cast", ["floored"], ["width"], to=TensorProto.INT64),
        node("Slice", ["s", "a0", "two"], ["nc"]),
        node("Add", ["nc", "more"], ["nc1"]),
        node("Concat", ["nc1", "h1", "width"], ["target"], axis=0),
        node("Resize", ["upper", "", "", "target"], ["r"], mode="linear"),
        node("Tile", ["r", "times"], ["t"]),
        node("Pad", ["t", "pads"], ["p"]),
        node("Conv", ["p", "k"], ["c"], name="conv", strides=[2, 2], auto_pad="SAME_LOWER"),
        node("Mul", ["n1", "h1"], ["nh"]),
        node("Reshape", ["c", "flat"], ["y"]),
        node("Identity", ["nh"], ["count"]),
    ]
    numbers = {
        "i0": 0,
        "i1": 1,
        "i2": 2,
        "i3": 3,
        "a0": [0],
        "one": [1],
        "two": [2],
        "axis2": [2],
        "more": [0, 1],
    }
    constants: dict[str, Any] = {name: np.array(value) for name, value in numbers.items()}
    constants |= {"times": np.array([1, 1, 1, 2]), "pads": np.array([0, 0, 1, 0, 0, 0, 0, 1])}
    constants |= {"flat": np.array([0, 5, -1]), "f15": np.float32([1.5]), "k": normal(5, 4, 3, 3)}
    return graph_of(nodes, {"x": ["n", 3, "h", "w"]}, ["y", "count"], constants)


def test_sizes_that_a_file_computes_stay_variable(tmp_path: Path) -> None:
    model = shapes()
    onnx.save(model, tmp_path / "model.onnx")
    graph = gp.trace(tmp_path / "model.onnx", {"x": (2, 3, 12, 10)})
    assert [at.name for at in graph.program.dimensions] == ["n", "", "h", "w"]
    slim = raise_program(graph.program)
    for shape in ((2, 3, 12, 10), (5, 3, 18, 31), (3, 3, 41, 8)):
        x = RANDOM.standard_normal(shape).astype(np.float32)
        results = slim(torch.from_numpy(x)).values()
        for result, expected in zip(results, in_onnxruntime(model, [x]), strict=True):
            assert np.asarray(result.detach()).shape == expected.shape
            np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_names_of_ones_own_go_before_those_of_the_file(tmp_path: Path) -> None:
    graph = gp.trace(network(tmp_path), {"image": (2, 3, 10, 12)}, dynamic={"image": {2: "high"}})
    assert [at.name for at in graph.program.dimensions] == ["batch", "", "high", "width"]
    assert gp.trace(network(tmp_path), {"image": (2, 3, 10, 12)}, dynamic=False).program.sizes == {}


def test_a_name_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(gp.InputError, match="'resnet18' is no model"):
        gp.trace("resnet18", None)
    with pytest.raises(gp.InputError, match="there is no file"):
        gp.trace(tmp_path / "none.onnx")


def test_a_difference_from_onnxruntime_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from graphprune.importing.operators.table import OPERATORS

    monkeypatch.setitem(OPERATORS, "Relu", OPERATORS["Abs"])
    with pytest.raises(gp.CaptureError, match=r"d, of node \w+ \(Relu\), is not what onnxruntime computes"):
        reading.open_file(network(tmp_path), {"image": (1, 3, 16, 16)})

"""Files cut by a plan, compared with the slim program in onnxruntime, tensor by tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import graphprune as gp
from graphprune.importing.node import RefusalError
from graphprune.planning import make_plan
from graphprune.slicing import proof
from graphprune.slicing.proof import proved
from tests.importing.building import graph_of, node
from tests.importing.test_tracing import normal


def network() -> onnx.ModelProto:
    """Every kind of number that mentions a width: group, hidden_size, parts, positions, shapes, a constant node."""
    weight = onnx.numpy_helper.from_array(normal(8, 3, 3, 3), "kernel")
    nodes = [
        node("Constant", [], ["w1"], value=weight),
        node("Conv", ["x", "w1", "b1"], ["a"], name="first", pads=[1, 1, 1, 1]),
        node("Split", ["a", "parts"], ["left", "right"], name="split", axis=1),
        node("Relu", ["left"], ["left2"]),
        node("Concat", ["right", "left2"], ["joined"], axis=1),
        node("Conv", ["joined", "w2"], ["depthwise"], name="depthwise", group=8, pads=[1, 1, 1, 1]),
        node("Slice", ["depthwise", "from", "to", "axis"], ["sliced"], name="slice"),
        node("Shape", ["sliced"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Concat", ["n", "width", "rest"], ["wanted"], axis=0),
        node("Reshape", ["sliced", "wanted"], ["rows"], name="rows"),
        node("Transpose", ["rows"], ["turned"], perm=[2, 0, 1]),
        node("LSTM", ["turned", "wi", "wr", "wb"], ["y", "h"], name="lstm", hidden_size=6),
        node("Squeeze", ["h", "zero"], ["last"]),
        node("Gemm", ["last", "w3", "b3"], ["scores"], name="head", transB=1),
    ]
    constants = {
        "b1": normal(8),
        "parts": np.array([3, 5]),
        "w2": normal(8, 1, 3, 3),
        **{"from": np.array([2]), "to": np.array([2**40]), "axis": np.array([1])},
        **{"zero": np.array([0]), "width": np.array([6]), "rest": np.array([-1])},
        **{"wi": normal(1, 24, 6), "wr": normal(1, 24, 6), "wb": normal(1, 48)},
        **{"w3": normal(4, 6), "b3": normal(4)},
    }
    return graph_of(nodes, {"x": ["batch", 3, "rows", "columns"]}, ["scores"], constants, opset=13)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("files") / "model.onnx"
    onnx.save(network(), path)
    return gp.trace(path, {"x": (2, 3, 6, 5)})


def plan_of(graph: Any) -> gp.Plan:
    """All but the first unit of every group."""
    return make_plan(
        graph, {group.name: torch.arange(1, group.size) for group in graph.groups if group.size > 1}
    )


def tensors(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    return {item.name: tuple(item.dims) for item in model.graph.initializer}


def test_a_cut_file_computes_what_the_slim_program_does(graph: Any) -> None:
    model, compared = proved(graph, plan_of(graph))
    assert compared >= 2 * 12
    old, new = tensors(graph.program.model.source), tensors(model)
    assert list(old) == list(new)
    cut = {name: (old[name], new[name]) for name in old if old[name] != new[name]}
    assert {"b1", "w2", "wi", "wr", "wb", "w3"} <= set(cut)
    assert new["wr"] == (1, 4 * new["w3"][1], new["w3"][1])


def test_all_else_of_the_file_is_as_it_was(graph: Any) -> None:
    """Names, order, opset, and nodes but for those that say a width themselves."""
    source = graph.program.model.source
    before = source.SerializeToString()
    model, _ = proved(graph, plan_of(graph))
    assert source.SerializeToString() == before
    changed = [
        one.name for one, other in zip(source.graph.node, model.graph.node, strict=True) if one != other
    ]
    assert changed == ["", "depthwise", "lstm"]  # the constant, the group, the hidden size
    for name in ("opset_import", "ir_version", "producer_name"):
        assert getattr(source, name) == getattr(model, name)
    assert list(source.graph.input) == list(model.graph.input)
    assert list(source.graph.output) == list(model.graph.output)
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("planted", ["w2", "wr", "b1", "from"])
def test_a_wrong_number_is_found(graph: Any, monkeypatch: pytest.MonkeyPatch, planted: str) -> None:
    """Another number in one constant of the cut file, which random tensors do not put right."""
    right = proof.with_tensors

    def wrong(model: Any, tensors: dict[str, Any]) -> Any:
        made = right(model, tensors)
        for item in made.graph.initializer:
            if item.name == planted:
                array = np.array(onnx.numpy_helper.to_array(item))
                array.reshape(-1)[0] += 1
                item.CopyFrom(onnx.numpy_helper.from_array(array, planted))
        return made

    monkeypatch.setattr(proof, "with_tensors", wrong)
    with pytest.raises(gp.VerificationError, match=r"the cut file (differs at|does not run)"):
        proved(graph, plan_of(graph))


def test_a_size_that_two_nodes_need_differently_is_refused(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w1"], ["a"], name="one"),
        node("Conv", ["x", "w2"], ["b"], name="other"),
        node("Reshape", ["a", "shape"], ["c"], name="first view"),
        node("Reshape", ["b", "shape"], ["d"], name="second view"),
        node("MatMul", ["v1", "c"], ["e"]),
        node("MatMul", ["v2", "d"], ["f"]),
        node("Add", ["e", "f"], ["y"]),
    ]
    constants = {"w1": normal(8, 3, 1, 1), "w2": normal(8, 3, 1, 1), "v1": normal(4, 8), "v2": normal(4, 8)}
    path = tmp_path / "model.onnx"
    onnx.save(
        graph_of(nodes, {"x": ["n", 3, 4, 4]}, ["y"], constants | {"shape": np.array([0, 8, -1])}), path
    )
    graph = gp.trace(path)
    first, second = graph.groups
    with pytest.raises(RefusalError, match=r"second view \(Reshape\): shape would be 6 here"):
        proved(graph, make_plan(graph, {first.name: torch.arange(5), second.name: torch.arange(6)}))

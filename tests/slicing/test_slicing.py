"""Files cut by a plan, compared with the masked original in onnxruntime, node by node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import graphprune as gp
from graphprune.planning import make_plan
from graphprune.slicing.matching import match_values
from graphprune.slicing.proof import checks_of_file
from graphprune.slicing.slice import sliced
from graphprune.verifying import Check
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


def cut(graph: Any, plan: gp.Plan | None = None) -> tuple[onnx.ModelProto, list[Check]]:
    """The cut file, and every check of it."""
    plan = plan or plan_of(graph)
    match = match_values(graph, graph.program.model)
    model = sliced(graph, plan, match)
    return model, list(checks_of_file(graph, plan, match, model))


def test_a_cut_file_computes_what_the_masked_original_does(graph: Any) -> None:
    model, checks = cut(graph)
    assert [check for check in checks if not check.passed] == []
    assert len(checks) == 4  # bits; two sizes; random weights
    assert all(check.figure < 1e-6 for check in checks)
    assert checks[1].detail == "12 values"  # all but sizes, the constant, and an output that nothing reads
    old, new = tensors(graph.program.model.source), tensors(model)
    assert list(old) == list(new)
    cut_ones = {name: (old[name], new[name]) for name in old if old[name] != new[name]}
    assert {"b1", "w2", "wi", "wr", "wb", "w3"} <= set(cut_ones)
    assert new["wr"] == (1, 4 * new["w3"][1], new["w3"][1])


def test_all_else_of_the_file_is_as_it_was(graph: Any) -> None:
    """Names, order, opset, and nodes but for those that say a width themselves."""
    source = graph.program.model.source
    before = source.SerializeToString()
    model, _ = cut(graph)
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


def found_by(graph: Any, plan: gp.Plan, match: Any, model: onnx.ModelProto) -> set[str]:
    """What says that a cut file is wrong."""
    try:
        failed = [check.name for check in checks_of_file(graph, plan, match, model) if not check.passed]
    except gp.VerificationError as error:
        return {error.message.partition(":")[0]}
    return {"a node differs" if "every node" in name else name for name in failed}


@pytest.mark.parametrize("planted", ["w2", "wr", "b1", "from", "parts", "width"])
def test_a_wrong_number_is_found(graph: Any, planted: str) -> None:
    """Another number in one constant of the cut file, by the nodes alone, without what is compared bit by bit."""
    plan, match = plan_of(graph), match_values(graph, graph.program.model)
    model = sliced(graph, plan, match)
    item = next(item for item in model.graph.initializer if item.name == planted)
    array = np.array(onnx.numpy_helper.to_array(item))
    array.reshape(-1)[0] += 1
    item.CopyFrom(onnx.numpy_helper.from_array(array, planted))
    assert found_by(graph, plan, match, model) & {"a node differs", "the cut file does not run"}


def test_a_size_that_two_nodes_need_differently_becomes_two(tmp_path: Path) -> None:
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
    shape = {"shape": np.array([0, 8, -1])}
    onnx.save(graph_of(nodes, {"x": ["n", 3, 4, 4]}, ["y"], constants | shape), path)
    graph = gp.trace(path)
    first, second = graph.groups
    plan = make_plan(graph, {first.name: torch.arange(5), second.name: torch.arange(6)})
    model, checks = cut(graph, plan)
    assert all(check.passed for check in checks)
    views = [node for node in model.graph.node if node.op_type == "Reshape"]
    held = {item.name: onnx.numpy_helper.to_array(item).tolist() for item in model.graph.initializer}
    assert [held[view.input[1]] for view in views] == [[0, 5, -1], [0, 6, -1]]


def test_a_shape_that_is_put_together_for_two_nodes_becomes_two(tmp_path: Path) -> None:
    """Exporters compute the shape of queries and values once; of a copy that stays the same nothing is left."""
    nodes = [
        node("Conv", ["x", "w1"], ["a"], name="one"),
        node("Conv", ["x", "w2"], ["b"], name="other"),
        node("Conv", ["x", "w3"], ["g"], name="third"),
        node("Shape", ["x"], ["s"], start=0, end=1),
        node("Concat", ["s", "width", "rest"], ["shape"], axis=0),
        *(node("Reshape", [name, "shape"], [f"{name}2"], name=f"view {name}") for name in "abg"),
        *(node("MatMul", [f"v{name}", f"{name}2"], [f"{name}3"]) for name in "abg"),
        node("Sum", ["a3", "b3", "g3"], ["y"]),
    ]
    widths = {f"w{place}": normal(8, 3, 1, 1) for place in (1, 2, 3)}
    constants = {**widths, **{f"v{name}": normal(4, 8) for name in "abg"}}
    constants |= {"width": np.array([8]), "rest": np.array([-1])}
    path = tmp_path / "model.onnx"
    onnx.save(graph_of(nodes, {"x": ["n", 3, 4, 4]}, ["y"], constants), path)
    graph = gp.trace(path)
    kept = {group.name: torch.arange(size) for group, size in zip(graph.groups, (5, 6, 5), strict=True)}
    model, checks = cut(graph, make_plan(graph, kept))
    assert all(check.passed for check in checks)
    assert sum(node.op_type == "Concat" for node in model.graph.node) == 2

"""Graphs as modules: names, shared constants, graphs within graphs, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from graphprune.ground.errors import CaptureError
from graphprune.importing.interpreter import module_of
from tests.importing.building import graph_of, in_onnxruntime, node

X = np.random.default_rng(1).standard_normal((2, 3, 4)).astype(np.float32)
W = np.random.default_rng(2).standard_normal((4, 4)).astype(np.float32)


def agrees(model: onnx.ModelProto, *arrays: Any) -> None:
    results = module_of(model)(*map(torch.from_numpy, arrays))
    names = [item.name for item in model.graph.output]
    for name, expected in zip(names, in_onnxruntime(model, arrays), strict=True):
        np.testing.assert_allclose(results[name].detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_modules_bear_the_names_of_nodes_and_constants_those_of_their_use() -> None:
    nodes = [
        node("MatMul", ["x:0", "w"], ["a"], name="/encoder/layers.0/MatMul"),
        node("Relu", ["a"], ["b"]),
        node("MatMul", ["b", "w"], ["c"], name="/encoder/layers.0"),
        node("Add", ["c", "half"], ["out.1"], name="class"),
    ]
    model = graph_of(nodes, {"x:0": X.shape}, ["out.1"], {"w": W, "half": np.float32(0.5)})
    module = module_of(model)
    assert [name for name, _ in module.named_parameters(remove_duplicate=False)] == [
        "encoder.layers.0.MatMul.weight",
        "encoder.layers.0_1.weight",
    ]
    assert len(list(module.parameters())) == 1
    assert [name for name, _ in module.named_buffers()] == ["class_.b"]
    assert list(module(torch.from_numpy(X))) == ["out.1"]
    agrees(model, X)


def test_constants_of_nodes_and_identities_of_initializers_are_constants() -> None:
    value = onnx.numpy_helper.from_array(W)
    nodes = [
        node("Constant", [], ["k"], value=value),
        node("Identity", ["k"], ["same"]),
        node("MatMul", ["x", "same"], ["y"], name="first"),
    ]
    model = graph_of(nodes, {"x": X.shape}, ["y"])
    module = module_of(model)
    assert [name for name, _ in module.named_parameters()] == ["first.weight"]
    assert [item.source for step in module.steps for item in step.held.values()] == ["k"]
    agrees(model, X)


def branch(name: str, operator: str) -> onnx.GraphProto:
    """A graph that reads "x" and "w" from outside."""
    made = [node("MatMul", ["x", "w"], ["m"]), node(operator, ["m"], [name])]
    return helper.make_graph(made, name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])


@pytest.mark.parametrize("asked", ["size", "data"])
@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_a_branch_is_chosen_by_sizes_or_data(asked: str, scale: float) -> None:
    sizes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "one"], ["n"]),
        node("Greater", ["n", "limit"], ["c"]),
    ]
    data = [node("ReduceMax", ["x"], ["n"], keepdims=0), node("Greater", ["n", "zero"], ["c"])]
    chosen = node("If", ["c"], ["y"], then_branch=branch("yes", "Relu"), else_branch=branch("no", "Neg"))
    constants = {"one": np.array(1), "limit": np.array(3 if scale > 0 else 2), "zero": np.float32(0), "w": W}
    model = graph_of([*(sizes if asked == "size" else data), chosen], {"x": X.shape}, ["y"], constants)
    agrees(model, (scale * abs(X)).astype(np.float32))


def test_a_loop_runs_as_often_as_a_size_says() -> None:
    flag, number = (
        helper.make_tensor_value_info(n, t, [])
        for n, t in (("on", TensorProto.BOOL), ("i", TensorProto.INT64))
    )
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("v", "next", "kept")]
    made = [
        node("MatMul", ["v", "w"], ["next"]),
        node("Identity", ["on"], ["off"]),
        node("Relu", ["next"], ["kept"]),
    ]
    more = helper.make_tensor_value_info("off", TensorProto.BOOL, [])
    body = helper.make_graph(made, "body", [number, flag, values[0]], [more, *values[1:]])
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "one"], ["n"]),
        node("Loop", ["n", "", "x"], ["last", "all"], body=body),
    ]
    agrees(graph_of(nodes, {"x": X.shape}, ["last", "all"], {"one": np.array(1), "w": W}), X)


def test_what_cannot_run_names_the_node_and_the_operator() -> None:
    nodes = [node("Reshape", ["x", "s"], ["y"], name="view")]
    model = graph_of(nodes, {"x": X.shape, "s": [1]}, ["y"], types={"s": TensorProto.INT64})
    with pytest.raises(CaptureError, match=r"node view \(Reshape\): its input 1 is computed from data"):
        module_of(model)(torch.from_numpy(X), torch.tensor([-1]))


def test_an_operator_that_onnxruntime_has_not_is_named() -> None:
    model = graph_of([node("Relu", ["x"], ["y"])], {"x": X.shape}, ["y"])
    model.graph.node[0].domain, model.graph.node[0].name = "my.own", "mine"
    with pytest.raises(CaptureError, match=r"node mine \(my.own.Relu\): .*onnxruntime cannot load"):
        module_of(model)(torch.from_numpy(X))


def test_what_only_data_size_is_named_where_nothing_else_is_there() -> None:
    nodes = [node("NonMaxSuppression", ["x", "s"], ["y"], name="suppression")]
    model = graph_of(nodes, {"x": [1, 6, 4], "s": [1, 1, 6]}, ["y"])
    with pytest.raises(CaptureError, match=r"NonMaxSuppression \(node suppression\)"):
        module_of(model)

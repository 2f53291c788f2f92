"""Sizes that a graph computes stay Python's numbers, and are what onnxruntime computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, numpy_helper

from graphprune.importing.interpreter import Graph, module_of
from graphprune.importing.operators.counting import COUNTING
from graphprune.importing.values import Numbers
from tests.importing.building import graph_of, in_onnxruntime, node

# what is computed of the sizes "s" of a tensor; constants stand by value
AXES, FLOATS = np.array([0]), TensorProto.FLOAT
CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("Abs", ["s"], {}),
    ("Add", ["s", np.array([1])], {}),
    ("And", ["m", np.array([True, False, True, False])], {}),
    ("Cast", ["s"], {"to": FLOATS}),
    ("Cast", ["h"], {"to": TensorProto.INT64}),
    ("Cast", ["s"], {"to": TensorProto.BOOL}),
    ("Cast", ["m"], {"to": TensorProto.INT32}),
    ("Ceil", ["h"], {}),
    ("Concat", ["s", np.array([7]), "s"], {"axis": 0}),
    ("ConstantOfShape", [np.array([3])], {"value": numpy_helper.from_array(np.array([7]))}),
    ("Div", ["s", np.array([2])], {}),
    ("Div", ["s", np.array([-2])], {}),
    ("Div", ["h", np.float32(3)], {}),
    ("Equal", ["s", np.array([4])], {}),
    ("Expand", [np.array([7]), np.array([3])], {}),
    ("Floor", ["h"], {}),
    ("Gather", ["s", np.array(2)], {}),
    ("Gather", ["s", np.array([-1, 0])], {}),
    ("Greater", ["s", np.array([4])], {}),
    ("GreaterOrEqual", ["s", np.array([4])], {}),
    ("Identity", ["s"], {}),
    ("Less", ["s", np.array([4])], {}),
    ("LessOrEqual", ["s", np.array([4])], {}),
    ("Mod", ["s", np.array([3])], {}),
    ("Mod", ["s", np.array([-3])], {}),
    ("Mod", ["s", np.array([-3])], {"fmod": 1}),
    ("Max", ["s", np.array([4]), np.array([1])], {}),
    ("Min", ["s", np.array([4])], {}),
    ("Mul", ["s", "s"], {}),
    ("Mul", ["h", np.float32(2)], {}),
    ("Neg", ["s"], {}),
    ("Not", ["m"], {}),
    ("Or", ["m", np.array([True, False, True, False])], {}),
    ("Range", [np.array(5), np.array(1), np.array(-2)], {}),
    ("ReduceMax", ["s"], {"keepdims": 0}),
    ("ReduceMin", ["s"], {"axes": [0]}),
    ("ReduceProd", ["s"], {"axes": [0], "keepdims": 0}),
    ("ReduceSum", ["s", AXES], {"keepdims": 1}),
    ("Reshape", ["s", np.array([2, 2])], {}),
    ("Round", ["h"], {}),
    ("Slice", ["s", np.array([1]), np.array([2**62])], {}),
    ("Slice", ["s", np.array([-1]), np.array([-(2**62)]), AXES, np.array([-2])], {}),
    ("Split", ["s", np.array([1, 3])], {"outputs": 2}),
    ("Split", ["s"], {"outputs": 2}),
    ("Squeeze", ["f", AXES], {}),
    ("Sub", ["s", np.array([3])], {}),
    ("Transpose", ["s"], {}),
    ("Unsqueeze", ["s", np.array([0, -1])], {}),
    ("Where", ["m", "s", np.array([-1])], {}),
]


def model_of(operator: str, given: list[Any], attributes: dict[str, Any]) -> Any:
    constants = {f"c{place}": item for place, item in enumerate(given) if not isinstance(item, str)}
    names = [item if isinstance(item, str) else f"c{place}" for place, item in enumerate(given)]
    outputs = [f"y{place}" for place in range(attributes.get("outputs", 1))]
    options = {key: value for key, value in attributes.items() if key != "outputs"}
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Greater", ["s", "four"], ["m"]),
        node("Cast", ["s"], ["sizes"], to=FLOATS),
        node("Mul", ["sizes", "half"], ["h"]),
        node("Gather", ["s", "axes"], ["f"]),
        node(operator, names, outputs, **options),
    ]
    more = {"four": np.array([4]), "half": np.float32(0.5), "axes": AXES}
    return graph_of(nodes, {"x": ["a", "b", "c", "d"]}, outputs, constants | more)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_sizes_are_counted_as_onnxruntime_computes_them(case: Any) -> None:
    model = model_of(*case)
    for shape in ((2, 3, 5, 8), (4, 7, 4, 3)):
        x = np.zeros(shape, dtype=np.float32)
        counted = Graph.run(module_of(model), {"x": torch.from_numpy(x)})
        for value, expected in zip(counted, in_onnxruntime(model, [x]), strict=True):
            assert isinstance(value, Numbers)
            result = value.tensor().numpy()
            assert result.dtype == expected.dtype
            np.testing.assert_array_equal(result, expected)


def test_every_operator_on_sizes_is_tried() -> None:
    assert {operator for operator, *_ in CASES} == set(COUNTING)

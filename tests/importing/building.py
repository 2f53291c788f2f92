"""Small ONNX files for tests, and what onnxruntime makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

__all__ = ["graph_of", "in_onnxruntime", "node", "one_node"]

node = helper.make_node


def graph_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str],
    constants: Mapping[str, Any] = {},
    opset: int = 17,
    types: Mapping[str, int] = {},
) -> onnx.ModelProto:
    """A model of float inputs, unless ``types`` says otherwise; types of outputs are found by onnx."""
    graph = helper.make_graph(
        list(nodes),
        "made",
        [
            helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), shape)
            for name, shape in inputs.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(model)
    known = {item.name: item for item in inferred.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(known[name] for name in outputs)
    return model


def one_node(
    operator: str, opset: int, arrays: Sequence[Any], constants: Mapping[int, Any] = {}, **attributes: Any
) -> onnx.ModelProto:
    """A model of one node. ``constants`` stand at their places of its inputs, ``arrays`` at the others."""
    count = len(arrays) + len(constants)
    rest = iter(arrays)
    given = {f"x{place}": constants[place] if place in constants else next(rest) for place in range(count)}
    names = ["" if given[name] is None else name for name in given]
    outputs = attributes.pop("outputs", 1)
    inputs = {f"x{place}": given[f"x{place}"] for place in range(count) if place not in constants}
    return graph_of(
        [node(operator, names, [f"y{place}" for place in range(outputs)], name="one", **attributes)],
        {name: array.shape for name, array in inputs.items()},
        [f"y{place}" for place in range(outputs)],
        {f"x{place}": value for place, value in constants.items() if value is not None},
        opset,
        {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in inputs.items()},
    )


def in_onnxruntime(model: onnx.ModelProto, arrays: Sequence[Any]) -> list[Any]:
    """The outputs, without any optimisation of the graph."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, dict(zip((item.name for item in session.get_inputs()), arrays, strict=True)))

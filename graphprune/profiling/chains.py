"""Small ONNX models to time: a few layers of one kind and one width, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

__all__ = ["attention", "chain", "node", "random_values", "serialised"]

OPSET, IR = 18, 9
LENGTH = 3  # layers, so that what happens at inputs and outputs weighs little
GROUPS = 2
HEADS = 4
PIXELS, TOKENS = {"depthwise": 28}, 64  # a depthwise layer has little to do for each


def chain(kind: str, width: int) -> tuple[bytes, dict[str, Any]]:
    """A model and a feed for it: `LENGTH` layers of ``kind``, all of them ``width`` channels wide.

    A grouped layer has `GROUPS` groups of that many channels, attention `HEADS` heads of a quarter of it.
    """
    pixels = PIXELS.get(kind, 10)
    shape = {"linear": (1, TOKENS, width), "attention": (1, HEADS, TOKENS, width)}.get(
        kind, (1, width * (GROUPS if kind == "grouped" else 1), pixels, pixels)
    )
    nodes: list[Any] = []
    weights: dict[str, Any] = {}
    value = "x"
    for place in range(LENGTH):
        made, stored = _layer(kind, shape, value, str(place))
        nodes += made
        weights |= stored
        value = f"y{place}"
    feed = {"x": random_values(shape)}
    return serialised(nodes, feed, weights, (value,)), feed


def _layer(kind: str, shape: tuple[int, ...], source: str, name: str) -> tuple[list[Any], dict[str, Any]]:
    """Nodes that make ``y`` and the name, and their weights."""
    end, weight = f"y{name}", f"w{name}"
    if kind == "attention":
        turned = node("Transpose", [source], f"t{name}", perm=[0, 1, 3, 2])
        return [turned, *attention([source, f"t{name}", source], end)], {}
    made = f"m{name}"
    if kind == "linear":
        values = random_values((shape[-1], shape[-1]))
        layer = node("MatMul", [source, weight], made)
    else:
        groups = {"depthwise": shape[1], "grouped": GROUPS}.get(kind, 1)
        values = random_values((shape[1], shape[1] // groups, 3, 3))
        layer = node("Conv", [source, weight], made, group=groups, kernel_shape=[3, 3], pads=[1] * 4)
    return [layer, node("Relu", [made], end)], {weight: values}


def attention(inputs: Sequence[str], result: str) -> list[Any]:
    """ONNX nodes that make ``result``, and are called after it; of the three inputs the keys come transposed."""
    query, key, value = inputs
    return [
        node("MatMul", [query, key], f"{result}/s"),
        node("Softmax", [f"{result}/s"], f"{result}/p"),
        node("MatMul", [f"{result}/p", value], result),
    ]


def node(operator: str, inputs: Sequence[str], output: str, **settings: Any) -> Any:
    """An ONNX node, called after the value that it makes."""
    from onnx import helper

    return helper.make_node(operator, inputs, [output], name=output, **settings)


def serialised(
    nodes: list[Any], feed: dict[str, Any], weights: dict[str, Any], outputs: tuple[str, ...]
) -> bytes:
    """The model with these nodes, inputs as in ``feed``, float32."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "timed",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in feed.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    return bytes(model.SerializeToString())


def random_values(shape: tuple[int, ...]) -> Any:
    """Small values: neither zeros nor denormal numbers, which some processors treat otherwise."""
    return numpy.random.default_rng(0).normal(0, 0.05, shape).astype(numpy.float32)

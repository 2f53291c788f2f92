"""Small ONNX models to time: one layer of a model by itself at any widths, and a chain of layers of one kind."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy

from graphprune import exporting
from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.terms import Atom, size_of
from graphprune.capture.operations import Operation, Value
from graphprune.capture.roles import ROLES

__all__ = ["OPERATORS", "LoneLayer", "chain", "lone_layer", "onnx_shapes", "time_alone"]

# what onnxruntime may make of the layers that are timed
OPERATORS = ("Conv", "ConvTranspose", "FusedConv", "MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Attention")

RUNS = 7
TOGETHER = 64  # layers in one session
Shape = tuple[int, ...]
OPSET, IR = 18, 9
LENGTH = 3  # layers, so that what happens at inputs and outputs weighs little
GROUPS = 2
HEADS = 4
PIXELS, TOKENS = {"depthwise": 28}, 64  # a depthwise layer has little to do for each


@dataclass(frozen=True)
class LoneLayer:
    """A layer with everything that its time depends on; equal ones are timed once.

    Args:
        form: "linear", "matmul", "attention", or the ONNX operator of a convolution.
        shapes: of its operands.
        stored: which of them are weights, known before the runtime sees any input.
        settings: attributes of the ONNX operator.
    """

    form: str
    shapes: tuple[Shape, ...]
    stored: tuple[bool, ...]
    settings: tuple[tuple[str, Any], ...] = ()


def lone_layer(graph: DependencyGraph, operation: Operation, sizes: Mapping[Atom, int]) -> LoneLayer:
    """The layer of an operator that has a kind (`graphprune.axes.kinds`), at ``sizes``."""
    terms, named = graph.analysis.terms, graph.analysis.sizes.get(operation.name, {})
    form, operands, settings = _described(operation)
    if "group" in settings and "groups" in named:
        settings["group"] = size_of(named["groups"], sizes)
    shapes = tuple(tuple(size_of(term, sizes) for term in terms[value.name]) for value in operands)
    stored = tuple(value.name in graph.program.attributes for value in operands)
    return LoneLayer(form, shapes, stored, tuple(settings.items()))


_FORMS = {"convolution": "Conv", "transposed": "ConvTranspose", "linear": "linear", "product": "matmul"}


def _described(operation: Operation) -> tuple[str, list[Value], dict[str, Any]]:
    given = operation.arguments
    if operation.family == "aten.scaled_dot_product_attention":
        return "attention", [given["query"], given["key"], given["value"]], {}
    roles = ROLES[operation.family]
    settings = _window(given) if "stride" in given else {}
    return _FORMS[roles.kind], [given[roles.source], given[roles.weight]], settings


def _window(given: Mapping[str, Any]) -> dict[str, Any]:
    kernel = tuple(given["weight"].shape[2:])
    settings: dict[str, Any] = {"group": given["groups"], "kernel_shape": kernel}
    for name, argument in (("strides", "stride"), ("dilations", "dilation")):
        settings[name] = _each(given[argument], len(kernel))
    if isinstance(given["padding"], str):
        return {**settings, "auto_pad": {"same": "SAME_UPPER"}.get(given["padding"], "VALID")}
    return {**settings, "pads": _each(given["padding"], len(kernel)) * 2}


def _each(value: Any, rank: int) -> tuple[int, ...]:
    numbers = tuple(value) if isinstance(value, list | tuple) else (value,)
    return numbers * rank if len(numbers) == 1 else numbers


def _nodes(layer: LoneLayer, name: str, inputs: Sequence[str]) -> list[Any]:
    """The layer as ONNX nodes, the last of which makes the value ``name``; their names begin with it."""
    if layer.form == "attention":
        return _attention(inputs, name)
    operator = "MatMul" if layer.form in ("linear", "matmul") else layer.form
    return [_node(operator, inputs, name, **dict(layer.settings))]


def onnx_shapes(layer: LoneLayer) -> tuple[Shape, ...]:
    """Shapes as the ONNX operators want them."""
    shapes = list(layer.shapes)
    if layer.form == "linear":
        shapes[1] = shapes[1][::-1]
    if layer.form == "attention":  # fewer heads of keys and values are repeated before they are multiplied
        heads = shapes[0][:-2]
        shapes[1:] = [(*heads, shapes[1][-1], shapes[1][-2]), (*heads, *shapes[2][-2:])]
    return tuple(shapes)


def time_alone(layers: Sequence[LoneLayer], threads: int) -> dict[LoneLayer, float]:
    """Milliseconds of each layer alone. Nodes that the runtime adds to change layouts before and after do not count."""
    times: dict[LoneLayer, float] = {}
    todo = list(dict.fromkeys(layers))
    for start in range(0, len(todo), TOGETHER):
        named = {f"n{place}": layer for place, layer in enumerate(todo[start : start + TOGETHER])}
        nodes: list[Any] = []
        feed: dict[str, Any] = {}
        weights: dict[str, Any] = {}
        for name, layer in named.items():
            operands = [f"{name}.{number}" for number in range(len(layer.shapes))]
            for operand, shape, stored in zip(operands, onnx_shapes(layer), layer.stored, strict=True):
                (weights if stored else feed)[operand] = _random_values(shape)
            nodes += _nodes(layer, name, operands)
        spent = exporting.node_times(_serialised(nodes, feed, weights, tuple(named)), feed, RUNS, threads)
        for name, layer in named.items():
            own = [kernel for kernel in spent if re.match(rf"{name}(/|_|$)", kernel.name)]
            times[layer] = sum(median(kernel.milliseconds) for kernel in own)
    return times


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
    feed = {"x": _random_values(shape)}
    return _serialised(nodes, feed, weights, (value,)), feed


def _layer(kind: str, shape: tuple[int, ...], source: str, name: str) -> tuple[list[Any], dict[str, Any]]:
    """Nodes that make ``y`` and the name, and their weights."""
    end, weight = f"y{name}", f"w{name}"
    if kind == "attention":
        turned = _node("Transpose", [source], f"t{name}", perm=[0, 1, 3, 2])
        return [turned, *_attention([source, f"t{name}", source], end)], {}
    made = f"m{name}"
    if kind == "linear":
        values = _random_values((shape[-1], shape[-1]))
        layer = _node("MatMul", [source, weight], made)
    else:
        groups = {"depthwise": shape[1], "grouped": GROUPS}.get(kind, 1)
        values = _random_values((shape[1], shape[1] // groups, 3, 3))
        layer = _node("Conv", [source, weight], made, group=groups, kernel_shape=[3, 3], pads=[1] * 4)
    return [layer, _node("Relu", [made], end)], {weight: values}


def _attention(inputs: Sequence[str], result: str) -> list[Any]:
    """ONNX nodes that make ``result``, and are called after it; of the three inputs the keys come transposed."""
    query, key, value = inputs
    return [
        _node("MatMul", [query, key], f"{result}/s"),
        _node("Softmax", [f"{result}/s"], f"{result}/p"),
        _node("MatMul", [f"{result}/p", value], result),
    ]


def _node(operator: str, inputs: Sequence[str], output: str, **settings: Any) -> Any:
    """An ONNX node, called after the value that it makes."""
    from onnx import helper

    return helper.make_node(operator, inputs, [output], name=output, **settings)


def _serialised(
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


def _random_values(shape: tuple[int, ...]) -> Any:
    """Small values: neither zeros nor denormal numbers, which some processors treat otherwise."""
    return numpy.random.default_rng(0).normal(0, 0.05, shape).astype(numpy.float32)

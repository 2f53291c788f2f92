"""One layer of a model as ONNX nodes to time by itself, at any widths."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from graphprune import exporting
from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.terms import Atom, size_of
from graphprune.capture.operations import Operation, Value
from graphprune.capture.roles import ROLES
from graphprune.profiling.chains import attention, node, random_values, serialised

__all__ = ["OPERATORS", "LoneLayer", "lone_layer", "onnx_shapes", "time_alone"]

# what onnxruntime may make of the layers that are timed
OPERATORS = ("Conv", "ConvTranspose", "FusedConv", "MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Attention")

RUNS = 7
TOGETHER = 64  # layers in one session
Shape = tuple[int, ...]


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
        return attention(inputs, name)
    operator = "MatMul" if layer.form in ("linear", "matmul") else layer.form
    return [node(operator, inputs, name, **dict(layer.settings))]


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
                (weights if stored else feed)[operand] = random_values(shape)
            nodes += _nodes(layer, name, operands)
        spent = exporting.node_times(serialised(nodes, feed, weights, tuple(named)), feed, RUNS, threads)
        for name, layer in named.items():
            own = [kernel for kernel in spent if re.match(rf"{name}(/|_|$)", kernel.name)]
            times[layer] = sum(median(kernel.milliseconds) for kernel in own)
    return times

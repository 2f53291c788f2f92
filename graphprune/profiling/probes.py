"""One layer of a model as ONNX nodes to time by itself, at any widths."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from graphprune import exporting
from graphprune.axes.terms import Atom, Term, size_of
from graphprune.capture.operations import Operation, Value
from graphprune.capture.roles import ROLES
from graphprune.profiling.chains import random_values, serialised

__all__ = ["OPERATORS", "Probe", "find_probe", "probe_times"]

# what onnxruntime may make of the layers that are probed
OPERATORS = ("Conv", "ConvTranspose", "FusedConv", "MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Attention")

RUNS = 7
TOGETHER = 64  # probes in one session
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Probe:
    """A layer with everything that its time depends on; equal probes are timed once.

    Args:
        form: a key of `_NODES`.
        shapes: of its operands.
        stored: which of them are weights, known before the runtime sees any input.
        settings: attributes of the ONNX operator.
    """

    form: str
    shapes: tuple[Shape, ...]
    stored: tuple[bool, ...]
    settings: tuple[tuple[str, Any], ...] = ()


def find_probe(
    operation: Operation,
    terms: Mapping[str, tuple[Term, ...]],
    named: Mapping[str, Term],
    attributes: Mapping[str, str],
    sizes: Mapping[Atom, int],
) -> Probe:
    """The probe of an operator that has a kind (`graphprune.axes.kinds`), at ``sizes``.

    Args:
        terms: value name → one term per dimension.
        named: the operator's integer arguments that are sizes of axes.
        attributes: values that are stored tensors.
    """
    form, operands, settings = _described(operation)
    if "group" in settings and "groups" in named:
        settings["group"] = size_of(named["groups"], sizes)
    shapes = tuple(tuple(size_of(term, sizes) for term in terms[value.name]) for value in operands)
    stored = tuple(value.name in attributes for value in operands)
    return Probe(form, shapes, stored, tuple(settings.items()))


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


def _layer(probe: Probe, name: str, inputs: Sequence[str]) -> Iterator[Any]:
    from onnx import helper

    yield helper.make_node(probe.form, inputs, [name], name=name, **dict(probe.settings))


def _product(probe: Probe, name: str, inputs: Sequence[str]) -> Iterator[Any]:
    from onnx import helper

    yield helper.make_node("MatMul", inputs, [name], name=name)


def _attention(probe: Probe, name: str, inputs: Sequence[str]) -> Iterator[Any]:
    from onnx import helper

    query, key, value = inputs
    yield helper.make_node("MatMul", [query, key], [f"{name}/s"], name=f"{name}/s")
    yield helper.make_node("Softmax", [f"{name}/s"], [f"{name}/p"], name=f"{name}/p")
    yield helper.make_node("MatMul", [f"{name}/p", value], [name], name=name)


_NODES: Mapping[str, Callable[[Probe, str, Sequence[str]], Iterator[Any]]] = {
    "Conv": _layer,
    "ConvTranspose": _layer,
    "linear": _product,
    "matmul": _product,
    "attention": _attention,
}


def _operands(probe: Probe) -> tuple[Shape, ...]:
    """Shapes as the ONNX operators want them."""
    shapes = list(probe.shapes)
    if probe.form == "linear":
        shapes[1] = shapes[1][::-1]
    if probe.form == "attention":  # fewer heads of keys and values are repeated before they are multiplied
        heads = shapes[0][:-2]
        shapes[1:] = [(*heads, shapes[1][-1], shapes[1][-2]), (*heads, *shapes[2][-2:])]
    return tuple(shapes)


def probe_times(probes: Sequence[Probe], threads: int) -> dict[Probe, float]:
    """Milliseconds of each; layouts that the runtime changes at a probe's borders do not count."""
    times: dict[Probe, float] = {}
    todo = list(dict.fromkeys(probes))
    for start in range(0, len(todo), TOGETHER):
        part = todo[start : start + TOGETHER]
        nodes: list[Any] = []
        feed: dict[str, Any] = {}
        weights: dict[str, Any] = {}
        for place, probe in enumerate(part):
            names = [f"n{place}.{number}" for number in range(len(probe.shapes))]
            for name, shape, stored in zip(names, _operands(probe), probe.stored, strict=True):
                (weights if stored else feed)[name] = random_values(shape)
            nodes += _NODES[probe.form](probe, f"n{place}", names)
        model = serialised(nodes, feed, weights, tuple(f"n{place}" for place in range(len(part))))
        spent = exporting.node_times(model, feed, RUNS, threads)
        for place, probe in enumerate(part):
            mine = [node for node in spent if re.match(rf"n{place}(/|_|$)", node.name)]
            times[probe] = sum(median(node.milliseconds) for node in mine)
    return times

"""Half precision: a file in float16 whose inputs and outputs stay as they are.

onnxruntime's own converter names a value twice where two nodes that stay in float32 read it, so that its tables alone
are taken here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphprune.deploying.half_types import can_be_half, half_inputs
from graphprune.deploying.rounding import casts_to
from graphprune.deploying.shaping import quiet
from graphprune.ground.errors import ExportError

__all__ = ["beyond_half", "halved"]

LARGEST, SMALLEST = 65504.0, 2.0**-14  # below it half loses digits, and then all of them
SPARE = 0.5  # of the range, which other inputs than the examples may need
INSIDE = "/half", "/single"  # end the names of values that are converted


def beyond_half(graph: Any, largest: Mapping[str, float]) -> list[str]:
    """Names of the nodes of an `onnx_ir` graph that read or make a value which leaves half's range, or nearly does.

    So does a value all of whose numbers are tiny, but for one of zeros alone.

    Args:
        largest: of the numbers of each value, see `graphprune.deploying.ranges`.
    """

    def leaves(value: Any) -> bool:
        found = 0.0 if value is None else largest.get(value.name, 0.0)
        return not (found == 0 or SMALLEST / SPARE <= found <= SPARE * LARGEST)

    return [node.name for node in graph.all_nodes() if any(map(leaves, (*node.inputs, *node.outputs)))]


def halved(model: Any, kept: Collection[str]) -> Any:
    """The `onnx_ir.Model` in float16, but for inputs, outputs, the nodes ``kept``, and those that ONNX has not in half.

    Raises:
        ExportError: nothing of it can be in half.
    """
    import onnx
    import onnx_ir

    with quiet():
        made = onnx_ir.from_proto(onnx.shape_inference.infer_shapes(onnx_ir.to_proto(model)))
    halves = [node for node in made.graph if node.name not in kept and can_be_half(node, made)]
    if not halves:
        raise ExportError("no operator of the file can compute in float16", "leave fp16 out")
    _convert(made, halves)
    for name in [name for name, value in made.graph.initializers.items() if not value.uses()]:
        if not made.graph.initializers[name].is_graph_output():
            made.graph.initializers.pop(name)
    made.graph.sort()
    return made


def _convert(model: Any, halves: Sequence[Any]) -> None:
    """Puts these nodes into half, and casts between them and the others."""
    import onnx_ir

    casting, others = _Casting(model.graph), set(model.graph.all_nodes()) - set(halves)
    for value in [value for node in halves for value in node.outputs]:
        if value.dtype == onnx_ir.DataType.FLOAT:
            casting.make_half(value)
    for node in halves:
        for place, value in half_inputs(node):
            node.replace_input_with(place, casting.half(value))
        _halve_attributes(node)
    for node in others:
        for place, value in enumerate(node.inputs):
            if value in casting.halves:
                node.replace_input_with(place, casting.single(value))
    for place, value in enumerate(model.graph.outputs):
        if value in casting.halves:
            single = casting.single(value)
            name, value.name = value.name, f"{value.name}{INSIDE[0]}"
            single.name, model.graph.outputs[place] = name, single


@dataclass
class _Casting:
    """The same value in both types, converted once."""

    graph: Any
    halves: set[Any] = field(default_factory=set)
    made: dict[tuple[Any, bool], Any] = field(default_factory=dict)

    def make_half(self, value: Any) -> None:
        import onnx_ir

        value.dtype = onnx_ir.DataType.FLOAT16
        self.halves.add(value)

    def half(self, value: Any) -> Any:
        return value if value in self.halves else self._other(value, True)

    def single(self, value: Any) -> Any:
        return self._other(value, False)

    def _other(self, value: Any, half: bool) -> Any:
        import onnx_ir

        if (value, half) not in self.made:
            dtype = onnx_ir.DataType.FLOAT16 if half else onnx_ir.DataType.FLOAT
            name = f"{value.name}{INSIDE[not half]}"
            if value.is_initializer() and value.const_value is not None and not value.is_graph_input():
                tensor = onnx_ir.tensor(_in_range(value.const_value.numpy()), name=name)
                made = onnx_ir.Value(name=name, shape=value.shape, type=onnx_ir.TensorType(dtype))
                made.const_value = tensor
                self.graph.register_initializer(made)
            else:
                cast = onnx_ir.node("Cast", [value], attributes={"to": dtype}, name=name)
                made = cast.outputs[0]
                made.name, made.dtype, made.shape = name, dtype, value.shape
                before = value.producer()
                if before is None:
                    self.graph.insert_before(self.graph[0], cast)
                else:
                    before.graph.insert_after(before, cast)
            self.made[value, half] = made
        return self.made[value, half]


def _in_range(array: Any) -> Any:
    """In half; what is finite stays so."""
    return array.clip(-LARGEST, LARGEST).astype("float16")


def _halve_attributes(node: Any) -> None:
    """Numbers that it holds itself, and the type that it casts to."""
    import onnx_ir

    for name, attribute in list(node.attributes.items()):
        if attribute.type == onnx_ir.AttributeType.TENSOR and attribute.value.dtype == onnx_ir.DataType.FLOAT:
            node.attributes[name] = onnx_ir.AttrTensor(
                name, onnx_ir.tensor(_in_range(attribute.value.numpy()))
            )
    if casts_to(node, "FLOAT"):
        node.attributes["to"] = onnx_ir.AttrInt64("to", onnx_ir.DataType.FLOAT16)

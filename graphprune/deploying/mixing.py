"""A file in float and the same in 8 bits, joined: nodes of one that read what the other holds.

`switched` is for measuring: the float file, in which each node can be switched to its twin in 8 bits while it runs.
`mixed` is for keeping: the file in 8 bits, in which some nodes read and compute in float again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["exact_nodes", "mixed", "quantised_nodes", "switched"]

TO_BITS, FROM_BITS = "QuantizeLinear", "DequantizeLinear"
TWIN, OWN, SWITCH = "/8bit", "/float", "/switch"  # end the names of values


@dataclass
class _Borrowed:
    """Nodes and tensors of another graph, as far as values need them that a graph has not.

    Args:
        known: values of the graph that borrows.
        lends: whether a node may be taken.
    """

    known: Collection[str]
    other: Any
    lends: Callable[[Any], bool]
    nodes: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.makers = makers_of(self.other)
        self.stored = {tensor.name: tensor for tensor in self.other.initializer}

    def has(self, value: str) -> bool:
        """Whether the graph can read ``value``: its own, or borrowed now."""
        if not value or value in self.known or value in self.tensors or value in self.nodes:
            return True
        if value in self.stored:
            self.tensors[value] = self.stored[value]
            return True
        node = self.makers.get(value)
        if node is None or not self.lends(node) or not all(map(self.has, node.input)):
            return False
        self.nodes.update(dict.fromkeys(node.output, node))
        return True

    def put_into(self, graph: Any) -> None:
        graph.node.extend({id(node): node for node in self.nodes.values()}.values())
        graph.initializer.extend(self.tensors.values())


def makers_of(graph: Any) -> Mapping[str, Any]:
    """Value → the node that makes it."""
    return {value: node for node in graph.node for value in node.output}


def quantised_nodes(graph: Any) -> list[Any]:
    """The nodes that read what was in 8 bits, in the order of the graph."""
    from_bits = {node.output[0] for node in graph.node if node.op_type == FROM_BITS}
    return [
        node
        for node in graph.node
        if node.op_type not in (TO_BITS, FROM_BITS) and from_bits.intersection(node.input)
    ]


def exact_nodes(model: Any) -> set[str]:
    """Names of the nodes that make other numbers than floats, such as conditions: these are right or wrong.

    With them go those whose types ONNX does not know, and all that floats come from which become whole numbers, such as
    places that are looked up.
    """
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    kinds = {
        value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)
    }
    floats = {name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT}
    exact = {node.name for node in model.graph.node if not floats.issuperset(filter(None, node.output))}
    makers, known = makers_of(model.graph), set[str]()
    left = [
        value
        for node in model.graph.node
        if node.op_type == "Cast"
        and kinds.get(node.output[0]) in (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
        for value in node.input
    ]
    while left:
        value = left.pop()
        node = makers.get(value)
        if value not in known and node is not None and value in floats:
            known.add(value)
            exact.add(node.name)
            left += node.input
    return exact


def switched(model: Any, quantised: Any) -> dict[str, str]:
    """Adds to a float model a twin in 8 bits for each node, and an input that says which of the two counts.

    Args:
        model: an `onnx.ModelProto`, which is changed.
        quantised: the same in 8 bits.

    Returns:
        Name of a node → its input, a bool.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    exact = exact_nodes(model)
    own = {node.name: node for node in graph.node if node.name not in exact}
    borrowed = _Borrowed(_values(graph), quantised.graph, lambda node: node.op_type in (TO_BITS, FROM_BITS))
    switches: dict[str, str] = {}
    for node in quantised_nodes(quantised.graph):
        float_one = own.get(node.name)
        if float_one is None or not all(map(borrowed.has, node.input)):
            continue
        switch = switches[node.name] = f"{node.name}{SWITCH}"
        graph.input.append(helper.make_tensor_value_info(switch, TensorProto.BOOL, []))
        twin = type(node)()
        twin.CopyFrom(node)
        twin.name = f"{node.name}{TWIN}"
        values = [value for value in float_one.output if value]
        twin.output[:] = [f"{value}{TWIN}" if value else "" for value in float_one.output]
        float_one.output[:] = [f"{value}{OWN}" if value else "" for value in float_one.output]
        graph.node.append(twin)
        graph.node.extend(
            helper.make_node("Where", [switch, f"{value}{TWIN}", f"{value}{OWN}"], [value])
            for value in values
        )
    borrowed.put_into(graph)
    _take_versions(model, quantised)
    return switches


def mixed(quantised: Any, model: Any, left: Iterable[str]) -> Any:
    """A model in 8 bits, in which the nodes ``left`` read what they read in the float ``model``.

    Returns:
        An `onnx_ir.Model`, without what nobody reads any more.
    """
    import onnx_ir
    from onnx_ir.passes import common

    wanted = set(left)
    made = type(quantised)()
    made.CopyFrom(quantised)
    own = {node.name: node for node in model.graph.node}
    _float_names(made.graph, own)
    borrowed = _Borrowed(_values(made.graph), model.graph, lambda node: True)
    for node in made.graph.node:
        if node.name in wanted and node.name in own and all(map(borrowed.has, own[node.name].input)):
            node.input[:] = own[node.name].input
    borrowed.put_into(made.graph)
    found = onnx_ir.from_proto(made)
    found.graph.sort()
    common.RemoveUnusedNodesPass()(found)
    return found


def _float_names(graph: Any, own: Mapping[str, Any]) -> None:
    """Gives values the names that they have in the float file.

    The quantiser drops a Relu or Clip, and gives its name to what comes in. It calls some values that were in 8 bits as
    the float ones.
    """
    outputs = {item.name for item in graph.output}
    bits = {value for value, node in makers_of(graph).items() if node.op_type == FROM_BITS} - outputs
    _rename(graph, {value: f"{value}{TWIN}" for value in bits})
    taken = _values(graph)
    pairs = (
        pair
        for node in graph.node
        if node.name in own
        for pair in zip(node.output, own[node.name].output, strict=False)
    )
    _rename(graph, {value: name for value, name in pairs if name not in taken and value not in outputs})


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]


def _values(graph: Any) -> set[str]:
    return {item.name for item in (*graph.input, *graph.initializer)} | set(makers_of(graph))


def _take_versions(model: Any, other: Any) -> None:
    """The quantiser may need newer operators, and those of its own."""
    del model.opset_import[:]
    model.opset_import.extend(other.opset_import)
    model.ir_version = max(model.ir_version, other.ir_version)

"""The network as a graph of layers: what a picture of it shows, and what graph files hold.

A node is an operator that reads stored tensors, that joins several values, or that multiplies and accumulates; all
other operators, such as activations and reshapes, are part of an edge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.operations import Operation

__all__ = ["Node", "collect_nodes"]


@dataclass
class Node:
    """A layer, a joint, an input or the output.

    Args:
        name: the user's layer; of an input, the argument.
        kind: class of the layer, or the operator.
        tensors: what it stores.
        operations: those of its operators that multiply and accumulate.
        outputs: values that it hands on: the last one first.
    """

    name: str
    kind: str
    tensors: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


Names = tuple[str, ...]


@dataclass
class _Collector:
    """Walks the operators once and keeps, for every value, the nodes that it comes from.

    Args:
        costly: operators that multiply and accumulate.
        held: value that depends on stored tensors alone → these, and the costly operators in between.
    """

    graph: DependencyGraph
    costly: set[str]
    held: dict[str, tuple[Names, Names]]
    nodes: list[Node] = field(default_factory=list)
    edges: dict[tuple[int, int], None] = field(default_factory=dict)
    origins: dict[str, dict[int, None]] = field(default_factory=dict)

    def step(self, operation: Operation) -> None:
        """Takes one operator: into a node, or onto an edge."""
        inputs = list(operation.inputs)
        held = [self.held[value.name] for value in inputs if value.name in self.held]
        tensors, costly = (_merged(item[place] for item in held) for place in (0, 1))
        costly += (operation.name,) if operation.name in self.costly else ()
        results = [value.name for value in operation.outputs]
        if len(held) == len(inputs):
            self.held.update({result: (tensors, costly) for result in results})
            return
        sources = {node: None for value in inputs for node in self.origins.get(value.name, {})}
        if tensors or costly or len(sources) > 1:
            sources = {self._node(operation, tensors, costly, sources): None}
        self.origins.update({result: sources for result in results})

    def _node(self, operation: Operation, tensors: Names, costly: Names, sources: Mapping[int, None]) -> int:
        """The number of the node that the operator belongs to: several operators may make up one layer."""
        name = _owner(tensors[0]) if tensors else operation.layer
        results = tuple(value.name for value in operation.outputs)
        number = next(iter(sources)) if len(sources) == 1 else -1
        last = self.nodes[number] if number >= 0 else None
        if last and tensors and last.tensors and last.name == name:
            last.tensors = _merged((last.tensors, tensors))
            last.operations += costly
            last.outputs = results + last.outputs
            return number
        layer = self.graph.program.module_types.get(name, "") if tensors else ""
        kind = layer.rpartition(".")[2] or operation.family.partition(".")[2].strip("_")
        return self.add(Node(name, kind, tensors, costly, results), sources)

    def add(self, node: Node, sources: Iterable[int]) -> int:
        """A new node with edges from ``sources``; its number."""
        number = len(self.nodes)
        self.nodes.append(node)
        self.edges.update({(source, number): None for source in sources})
        return number


def collect_nodes(graph: DependencyGraph) -> tuple[list[Node], list[tuple[int, int]]]:
    """Layers in the order of the program, and the edges between their numbers, always from low to high."""
    program = graph.program
    parameters = {name for name in graph.tensor_terms if program.stored[name].kind == "parameter"}
    shown = parameters | {member.tensor for group in graph.groups for member in group.members}
    collector = _Collector(graph, {loop.operation for loop in graph.analysis.loops}, {})
    for value, tensor in program.attributes.items():
        collector.held[value] = ((tensor,) if tensor in shown else (), ())
    for value in program.inputs:
        collector.origins[value] = {collector.add(Node(value, "input", outputs=(value,)), ()): None}
    for operation in program.operations:
        collector.step(operation)
    last = {node: None for value in program.output_names for node in collector.origins.get(value, {})}
    collector.add(Node("output", "output"), last)
    return collector.nodes, list(collector.edges)


def _owner(tensor: str) -> str:
    """The module that owns the tensor, or the tensor itself where the model does."""
    return tensor.rpartition(".")[0] or tensor


def _merged(parts: Iterable[Names]) -> Names:
    return tuple(dict.fromkeys(item for part in parts for item in part))

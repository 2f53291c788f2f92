"""The network as a graph of layers: what a picture of it shows, and what graph files hold.

A node is an operator that reads stored tensors, that joins several values, or that multiplies and accumulates; all
other operators (activations, reshapes) are part of the edge on which they stand.
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


@dataclass
class _Held:
    """A value that depends on stored tensors alone: these, and the operators in between."""

    tensors: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()


@dataclass
class _Collector:
    """Walks the operators once and keeps, for every value, the nodes that it comes from."""

    graph: DependencyGraph
    costly: set[str]
    held: dict[str, _Held]
    nodes: list[Node] = field(default_factory=list)
    edges: dict[tuple[int, int], None] = field(default_factory=dict)
    origins: dict[str, dict[int, None]] = field(default_factory=dict)

    def step(self, operation: Operation) -> None:
        """Takes one operator: into a node, or onto an edge."""
        inputs = list(operation.inputs)
        held = [self.held[value.name] for value in inputs if value.name in self.held]
        tensors = _merged(item.tensors for item in held)
        costly = _merged(item.operations for item in held)
        costly += (operation.name,) if operation.name in self.costly else ()
        results = [value.name for value in operation.outputs]
        if len(held) == len(inputs):
            self.held.update({result: _Held(tensors, costly) for result in results})
            return
        sources = {node: None for value in inputs for node in self.origins.get(value.name, {})}
        if tensors or costly or len(sources) > 1:
            sources = {self._node(operation, tensors, costly, sources): None}
        self.origins.update({result: sources for result in results})

    def _node(
        self,
        operation: Operation,
        tensors: tuple[str, ...],
        costly: tuple[str, ...],
        sources: Mapping[int, None],
    ) -> int:
        name = _owner(tensors[0]) if tensors else operation.layer
        results = tuple(value.name for value in operation.outputs)
        last = next(iter(sources)) if len(sources) == 1 else -1
        if tensors and last >= 0 and self.nodes[last].tensors and self.nodes[last].name == name:
            self._extend(self.nodes[last], tensors, costly, results)
            return last
        layer = self.graph.program.module_types.get(name, "") if tensors else ""
        kind = layer.rpartition(".")[2] or operation.family.partition(".")[2].strip("_")
        return self.add(Node(name, kind, tensors, costly, results), sources)

    def _extend(
        self, node: Node, tensors: tuple[str, ...], costly: tuple[str, ...], results: tuple[str, ...]
    ) -> None:
        """Several operators may make up one layer."""
        node.tensors = _merged((node.tensors, tensors))
        node.operations += costly
        node.outputs = results + node.outputs

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
    held = {
        value: _Held((tensor,) if tensor in shown else ()) for value, tensor in program.attributes.items()
    }
    collector = _Collector(graph, {loop.operation for loop in graph.analysis.loops}, held)
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


def _merged(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item for part in parts for item in part))

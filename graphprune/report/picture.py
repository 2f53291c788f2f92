"""The network as a graph of layers with widths, cost, groups and pins: what a page or a graph file shows of it.

A node is an operator that reads stored tensors, that joins several values, or that multiplies and accumulates; all
other operators, such as activations and reshapes, are part of an edge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import networkx as nx

from graphprune.axes.cost import Polynomial
from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.terms import Atom, Term, atoms, size_of
from graphprune.capture.operations import Operation

__all__ = ["layer_graph"]

Names = tuple[str, ...]


def layer_graph(graph: DependencyGraph, sizes: Mapping[str, int] | None = None) -> nx.DiGraph:
    """The layers of a model and what flows between them, in the order of the program.

    Args:
        sizes: group → units kept, where something was removed.

    Returns:
        A directed acyclic graph, nodes numbered from 0. Their attributes: ``name`` (the user's layer), ``kind`` (its
        class, or the operator), ``width``, ``params`` and ``macs``, each [before, after], ``tensors`` (what it stores),
        ``roles`` (group → "produces", "carries" or "consumes" by its tensors, else "passes" by its output) and ``pins``
        (rows [tensor, dimension, size, reason]).
    """
    nodes, edges = _collect_nodes(graph)
    describe = _Describer(graph, sizes or {})
    result = nx.DiGraph()
    result.add_nodes_from((number, describe(node)) for number, node in enumerate(nodes))
    result.add_edges_from(edges)
    return result


class _Describer:
    """Attributes of one node after another; a tensor's parameters count at the first node that reads it."""

    def __init__(self, graph: DependencyGraph, sizes: Mapping[str, int]) -> None:
        self.graph = graph
        self.sizes = {graph.by_name[name].atom: size for name, size in sizes.items()}
        self.members: dict[str, list[tuple[str, str]]] = {}
        for group in graph.groups:
            for member in group.members:
                self.members.setdefault(member.tensor, []).append((group.name, member.role))
        self.params = self._costs(graph.params)
        self.macs = self._costs(graph.macs)

    def _costs(self, cost: Polynomial) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for monomial in cost.monomials:
            pair = found.setdefault(monomial.name, [0, 0])
            pair[0] += int(monomial.value(cost.unit))
            pair[1] += int(monomial.value({**cost.unit, **self.sizes}))
        return found

    def __call__(self, node: _Node) -> dict[str, Any]:
        dims = self.graph.analysis.terms.get(node.outputs[0], ()) if node.outputs else ()
        carried = dict.fromkeys(atom for term in dims for atom in atoms(term))
        return {
            "name": node.name,
            "kind": node.kind,
            "width": self._width(node, dims),
            "params": _total(self.params.pop(tensor, [0, 0]) for tensor in node.tensors),
            "macs": _total(self.macs.pop(operation, [0, 0]) for operation in node.operations),
            "tensors": list(node.tensors),
            "roles": self._roles(node, carried),
            "pins": [row for tensor in node.tensors for row in self._pins(tensor)],
        }

    def _roles(self, node: _Node, carried: Iterable[Atom]) -> dict[str, str]:
        own = [member for tensor in node.tensors for member in self.members.get(tensor, ())]
        free = self.graph.by_atom
        roles = {free[atom].name: "passes" for atom in carried if atom in free}
        for wanted in ("consumes", "carries", "produces"):
            roles |= {group: role for group, role in own if role == wanted}
        return roles

    def _width(self, node: _Node, dims: tuple[Term, ...]) -> list[int]:
        """The size of the output's dimension that the layer's own tensors share, best one that can be pruned."""
        own = {
            atom
            for tensor in node.tensors
            for term in self.graph.tensor_terms[tensor]
            for atom in atoms(term)
            if atom.size > 1
        }
        free = set(self.graph.by_atom)
        for wanted in (own & free, own, free):
            fitting = [term for term in dims if not wanted.isdisjoint(atoms(term))]
            if fitting:
                term = fitting[-1]
                return [term.size, size_of(term, self.sizes)]
        return [0, 0]

    def _pins(self, tensor: str) -> Iterable[list[Any]]:
        for dim, term in enumerate(self.graph.tensor_terms[tensor]):
            reasons = {str(reason): atom for atom in atoms(term) if atom.size > 1 for reason in atom.pins}
            yield from ([tensor, dim, atom.size, reason] for reason, atom in reasons.items())


def _total(pairs: Iterable[list[int]]) -> list[int]:
    return [sum(numbers) for numbers in zip([0, 0], *pairs, strict=True)]


@dataclass
class _Node:
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
class _Collector:
    """Walks the operators once and keeps, for every value, the nodes that it comes from.

    Args:
        costly: operators that multiply and accumulate.
        held: value that depends on stored tensors alone → these, and the costly operators in between.
    """

    graph: DependencyGraph
    costly: set[str]
    held: dict[str, tuple[Names, Names]]
    nodes: list[_Node] = field(default_factory=list)
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
        return self.add(_Node(name, kind, tensors, costly, results), sources)

    def add(self, node: _Node, sources: Iterable[int]) -> int:
        """A new node with edges from ``sources``; its number."""
        number = len(self.nodes)
        self.nodes.append(node)
        self.edges.update({(source, number): None for source in sources})
        return number


def _collect_nodes(graph: DependencyGraph) -> tuple[list[_Node], list[tuple[int, int]]]:
    """Layers in the order of the program, and the edges between their numbers, always from low to high."""
    program = graph.program
    parameters = {name for name in graph.tensor_terms if program.stored[name].kind == "parameter"}
    shown = parameters | {member.tensor for group in graph.groups for member in group.members}
    collector = _Collector(graph, {loop.operation for loop in graph.analysis.loops}, {})
    for value, tensor in program.attributes.items():
        collector.held[value] = ((tensor,) if tensor in shown else (), ())
    for value in program.inputs:
        collector.origins[value] = {collector.add(_Node(value, "input", outputs=(value,)), ()): None}
    for operation in program.operations:
        collector.step(operation)
    last = {node: None for value in program.output_names for node in collector.origins.get(value, {})}
    collector.add(_Node("output", "output"), last)
    return collector.nodes, list(collector.edges)


def _owner(tensor: str) -> str:
    """The module that owns the tensor, or the tensor itself where the model does."""
    return tensor.rpartition(".")[0] or tensor


def _merged(parts: Iterable[Names]) -> Names:
    return tuple(dict.fromkeys(item for part in parts for item in part))

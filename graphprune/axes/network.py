"""The dependency graph as a `networkx` graph, and the paths in it that explain couplings and pins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import networkx as nx

from graphprune.axes.analysis import Analysis
from graphprune.axes.groups import Group
from graphprune.axes.terms import Atom, atoms
from graphprune.capture.program import Program

__all__ = ["Network", "build_network"]


@dataclass(frozen=True)
class Network:
    """Operators, tensors and axes as nodes, see `DependencyGraph.to_networkx`.

    Args:
        values: name of a stored tensor → the value that holds it.
    """

    graph: nx.Graph
    values: dict[str, str]

    def path(self, atom: Atom, tensor: str, end: str) -> list[str]:
        """Operators along which ``atom`` is handed on from a stored tensor to ``end``, a value or an operator."""
        carriers = [node for node in self.graph[("axis", atom.number)] if node[0] == "tensor"]
        operators = {node for value in carriers for node in self.graph[value] if node[0] == "operator"}
        part = self.graph.subgraph([*carriers, *operators])
        for kind in ("tensor", "operator"):
            try:
                return self._spoken(nx.shortest_path(part, ("tensor", self.values[tensor]), (kind, end)))
            except (nx.NodeNotFound, nx.NetworkXNoPath):
                continue
        return []

    def _spoken(self, path: Iterable[tuple[str, str]]) -> list[str]:
        """The operators of ``path`` with their layers, none twice in a row."""
        steps = [""]
        for kind, name in path:
            if kind == "operator":
                node = self.graph.nodes[(kind, name)]
                op = node["op"].split(".")[1] if node["op"].startswith("aten.") else node["op"]
                step = f"{op} ({node['layer']})" if node["layer"] else op
                steps += [step] if step != steps[-1] else []
        return steps[1:]


def build_network(program: Program, analysis: Analysis, groups: Iterable[Group]) -> Network:
    """The network of an analysed program."""
    graph = nx.Graph()
    names = {group.atom: group.name for group in groups}
    for name, terms in analysis.terms.items():
        graph.add_node(
            ("tensor", name), shape=tuple(t.size for t in terms), stored=program.attributes.get(name)
        )
        for dim, term in enumerate(terms):
            for atom in atoms(term):
                axis = ("axis", atom.number)
                if axis not in graph:
                    pins = tuple(map(str, atom.pins))
                    graph.add_node(axis, size=atom.size, group=names.get(atom), pins=pins)
                graph.add_edge(("tensor", name), axis, dim=dim)
    for operation in program.operations:
        caller = ("operator", operation.name)
        graph.add_node(caller, op=operation.op, layer=operation.layer)
        for value in (*operation.inputs, *operation.outputs):
            graph.add_edge(caller, ("tensor", value.name))
    return Network(graph, {stored: value for value, stored in program.attributes.items()})

"""Why layers are coupled and why axes are pinned, told in the user's layer names.

The paths that explain it are the shortest in a `networkx` graph of operators, tensors and axes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import networkx as nx

from graphprune.axes.analysis import Analysis
from graphprune.axes.call import Reason
from graphprune.axes.groups import Group
from graphprune.axes.terms import Atom, Term, atoms
from graphprune.capture.program import Program

__all__ = ["Network", "build_network", "tensor_facts"]


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


def build_network(program: Program, analysis: Analysis, groups: Mapping[Atom, Group]) -> Network:
    """The network of an analysed program."""
    graph = nx.Graph()
    for name, terms in analysis.terms.items():
        graph.add_node(
            ("tensor", name), shape=tuple(t.size for t in terms), stored=program.attributes.get(name)
        )
        for dim, term in enumerate(terms):
            for atom in atoms(term):
                axis = ("axis", atom.number)
                if axis not in graph:
                    pins = tuple(map(str, atom.pins))
                    graph.add_node(
                        axis, size=atom.size, group=groups[atom].name if atom in groups else None, pins=pins
                    )
                graph.add_edge(("tensor", name), axis, dim=dim)
    for operation in program.operations:
        caller = ("operator", operation.name)
        graph.add_node(caller, op=operation.op, layer=operation.layer)
        for value in (*operation.inputs, *operation.outputs):
            graph.add_edge(caller, ("tensor", value.name))
    return Network(graph, {stored: value for value, stored in program.attributes.items()})


def tensor_facts(
    name: str, terms: Iterable[Term], groups: Mapping[Atom, Group], network: Network
) -> list[dict[str, Any]]:
    """Of each dimension of a stored tensor its size, how it is composed, and its axes with all that they couple."""
    return [
        {
            "size": term.size,
            "term": str(term),
            "axes": [
                _axis(atom, groups.get(atom), (name, dim), network) for atom in dict.fromkeys(atoms(term))
            ],
        }
        for dim, term in enumerate(terms)
    ]


def _axis(atom: Atom, group: Group | None, own: tuple[str, int], network: Network) -> dict[str, Any]:
    """One axis of dimension ``own`` (tensor, dim): its pins with their paths, or its group and the other members."""
    members = group.members if group else ()
    return {
        "size": atom.size,
        "pins": [_pin(atom, own[0], reason, network) for reason in atom.pins],
        "group": group.name if group else None,
        "each_of": group.fibre.size if group and group.fibre else None,
        "coupled": [
            {
                "tensor": member.tensor,
                "dim": member.dim,
                "role": member.role,
                "path": network.path(atom, own[0], network.values[member.tensor]),
            }
            for member in members
            if (member.tensor, member.dim) != own
        ],
        "own": [
            {"tensor": member.tensor, "dim": member.dim, "role": member.role}
            for member in members
            if (member.tensor, member.dim) == own
        ],
    }


def _pin(atom: Atom, tensor: str, reason: object, network: Network) -> dict[str, Any]:
    if not isinstance(reason, Reason):
        return {"reason": str(reason), "layer": "", "operation": "", "path": []}
    path = network.path(atom, tensor, reason.operation)
    return {"reason": reason.text, "layer": reason.layer, "operation": reason.operation, "path": path}

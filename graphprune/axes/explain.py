"""Why layers are coupled and why axes are pinned, told in the user's layer names.

The paths that explain it are the shortest in a `networkx` graph of operators, tensors and axes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import networkx as nx

from graphprune.axes.analysis import Analysis
from graphprune.axes.call import Reason
from graphprune.axes.groups import Group
from graphprune.axes.terms import Atom, Term, atoms
from graphprune.capture.program import Program
from graphprune.ground.errors import InputError

__all__ = ["Network", "build_network", "explanation"]

_Terms = Mapping[str, tuple[Term, ...]]


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


def explanation(layer: str, terms: _Terms, groups: Mapping[Atom, Group], network: Network) -> dict[str, Any]:
    """See `DependencyGraph.explanation`. ``terms`` are those of the stored tensors, by name."""
    tensors = [name for name in terms if name == layer or name.rpartition(".")[0] == layer]
    if not tensors:
        raise _unknown(layer, terms)
    described: dict[str, list[dict[str, Any]]] = {}
    lines = [layer]
    for tensor in tensors:
        described[tensor] = []
        for dim, term in enumerate(terms[tensor]):
            found = dict.fromkeys(atoms(term))
            axes = [_axis(atom, groups.get(atom), (tensor, dim), network) for atom in found]
            described[tensor].append({"size": term.size, "axes": axes})
            written = f" = {term}" if str(term)[0] == "(" else ""
            lines.append(f"  {tensor}[{dim}] of size {term.size}{written}")
            lines += (f"    {line}" for axis in axes for line in _told(axis))
    return {"layer": layer, "text": "\n".join(lines), "tensors": described}


def _unknown(layer: str, terms: _Terms) -> InputError:
    layers = sorted({name.rpartition(".")[0] for name in terms} | set(terms))
    near = get_close_matches(layer, layers, 3, 0.4)
    below = [name for name in layers if name.startswith(f"{layer}.")][:3]
    return InputError(
        f"there is no layer {layer!r} with tensors of its own",
        f"did you mean {', '.join(below or near)}?" if below or near else "see `graphprune inspect`",
    )


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
    }


def _pin(atom: Atom, tensor: str, reason: object, network: Network) -> dict[str, Any]:
    if not isinstance(reason, Reason):
        return {"reason": str(reason), "layer": "", "operation": "", "path": []}
    path = network.path(atom, tensor, reason.operation)
    return {"reason": reason.text, "layer": reason.layer, "operation": reason.operation, "path": path}


def _told(axis: Mapping[str, Any]) -> Iterator[str]:
    """The lines about an axis."""
    size = axis["size"]
    for pin in axis["pins"]:
        reason = Reason(pin["reason"], pin["operation"], pin["layer"])
        yield f"{size} pinned: {reason}" + (f"; path: {' → '.join(pin['path'])}" if pin["path"] else "")
    if axis["group"] is not None:
        fibre = f", chosen separately for each of {axis['each_of']}" if axis["each_of"] else ""
        yield f"{size} units of group {axis['group']}{fibre}, coupled with"
    elif not axis["pins"]:
        yield f"{size}: {'a single unit, cannot be removed' if size == 1 else 'not a group'}"
    for member in axis["coupled"]:
        yield f"  {member['tensor']}[{member['dim']}] ({member['role']}) through {' → '.join(member['path'])}"

"""Why layers are coupled and why axes are pinned, as paths through the dependency graph."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

import networkx as nx

from graphprune.axes.call import Reason
from graphprune.axes.groups import Member
from graphprune.axes.terms import Atom, atoms
from graphprune.ground.errors import InputError

if TYPE_CHECKING:
    from graphprune.axes.dependency import DependencyGraph

__all__ = ["coupling_path", "explain", "pin_path"]


def explain(graph: DependencyGraph, layer: str) -> str:
    """See `DependencyGraph.explain`."""
    tensors = [name for name in graph.tensor_terms if name == layer or name.rpartition(".")[0] == layer]
    if not tensors:
        raise _unknown(graph, layer)
    lines = [layer]
    for tensor in tensors:
        for dim, term in enumerate(graph.tensor_terms[tensor]):
            lines.append(
                f"  {tensor}[{dim}] of size {term.size}" + (f" = {term}" if str(term)[0] == "(" else "")
            )
            for atom in dict.fromkeys(atoms(term)):
                lines += (f"    {line}" for line in _explain_atom(graph, tensor, dim, atom))
    return "\n".join(lines)


def _unknown(graph: DependencyGraph, layer: str) -> InputError:
    layers = sorted({name.rpartition(".")[0] for name in graph.tensor_terms} | set(graph.tensor_terms))
    near = get_close_matches(layer, layers, 3, 0.4)
    below = [name for name in layers if name.startswith(f"{layer}.")][:3]
    return InputError(
        f"there is no layer {layer!r} with tensors of its own",
        f"did you mean {', '.join(below or near)}?" if below or near else "see `graphprune inspect`",
    )


def _explain_atom(graph: DependencyGraph, tensor: str, dim: int, atom: Atom) -> Iterable[str]:
    if atom.pins:
        for reason in atom.pins:
            path = pin_path(graph, tensor, atom, reason) if isinstance(reason, Reason) else []
            yield f"{atom.size} pinned: {reason}" + (f"; path: {' → '.join(path)}" if path else "")
        return
    group = next((group for group in graph.groups if group.atom is atom), None)
    if group is None:
        yield (
            f"{atom.size}: a single unit, cannot be removed"
            if atom.size == 1
            else f"{atom.size}: not a group"
        )
        return
    fibre = f", chosen separately for each of {group.fibre.size}" if group.fibre else ""
    yield f"{atom.size} units of group {group.name}{fibre}, coupled with"
    for member in group.members:
        if (member.tensor, member.dim) != (tensor, dim):
            path = coupling_path(graph, tensor, member, atom)
            yield f"  {member.tensor}[{member.dim}] ({member.role}) through {' → '.join(path)}"


def coupling_path(graph: DependencyGraph, tensor: str, member: Member, atom: Atom) -> list[str]:
    """Operators between two stored tensors along which ``atom`` is handed on."""
    network = _carriers(graph, atom)
    values = {stored: value for value, stored in graph.program.attributes.items()}
    return _spoken(graph, _path(network, values[tensor], values[member.tensor]))


def pin_path(graph: DependencyGraph, tensor: str, atom: Atom, reason: Reason) -> list[str]:
    """Operators between a stored tensor and the operator that pins ``atom``."""
    network = _carriers(graph, atom)
    values = {stored: value for value, stored in graph.program.attributes.items()}
    return _spoken(graph, _path(network, values[tensor], reason.operation))


def _carriers(graph: DependencyGraph, atom: Atom) -> nx.Graph:
    """The tensors that carry ``atom`` and the operators beside them."""
    network = graph.to_networkx()
    tensors = [node for node in network[("axis", atom.number)] if node[0] == "tensor"]
    operators = {node for tensor in tensors for node in network[tensor] if node[0] == "operator"}
    return network.subgraph([*tensors, *operators])


def _path(network: nx.Graph, start: str, end: str) -> list[tuple[str, str]]:
    for kind in ("tensor", "operator"):
        try:
            return list(nx.shortest_path(network, ("tensor", start), (kind, end)))
        except (nx.NodeNotFound, nx.NetworkXNoPath):
            continue
    return []


def _spoken(graph: DependencyGraph, path: list[tuple[str, str]]) -> list[str]:
    network = graph.to_networkx()
    steps = []
    for kind, name in path:
        if kind == "operator":
            node = network.nodes[(kind, name)]
            op = node["op"].split(".")[1] if node["op"].startswith("aten.") else node["op"]
            steps.append(f"{op} ({node['layer']})" if node["layer"] else op)
    return [step for step, before in zip(steps, ["", *steps], strict=False) if step != before]

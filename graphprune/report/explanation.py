"""Why the dimensions of one layer are coupled or pinned, as a plain dictionary."""

from __future__ import annotations

from typing import Any

from graphprune.axes.call import Reason
from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.groups import Group
from graphprune.axes.terms import Atom, atoms

__all__ = ["explanation"]


def explanation(graph: DependencyGraph, layer: str) -> dict[str, Any]:
    """What `DependencyGraph.explain` says, ready for `json.dumps`.

    Raises:
        InputError: there is no such layer with tensors of its own.
    """
    text = graph.explain(layer)
    tensors = [name for name in graph.tensor_terms if name == layer or name.rpartition(".")[0] == layer]
    return {"layer": layer, "text": text, "tensors": {name: _dims(graph, name) for name in tensors}}


def _dims(graph: DependencyGraph, tensor: str) -> list[dict[str, Any]]:
    return [
        {"size": term.size, "axes": [_axis(graph, tensor, dim, atom) for atom in dict.fromkeys(atoms(term))]}
        for dim, term in enumerate(graph.tensor_terms[tensor])
    ]


def _axis(graph: DependencyGraph, tensor: str, dim: int, atom: Atom) -> dict[str, Any]:
    group = next((group for group in graph.groups if group.atom is atom), None)
    return {
        "size": atom.size,
        "pins": [_pin(graph, tensor, atom, reason) for reason in atom.pins],
        "group": group.name if group else None,
        "each_of": group.fibre.size if group and group.fibre else None,
        "coupled": _coupled(graph, tensor, dim, group) if group else [],
    }


def _pin(graph: DependencyGraph, tensor: str, atom: Atom, reason: object) -> dict[str, Any]:
    if not isinstance(reason, Reason):
        return {"reason": str(reason), "layer": "", "operation": "", "path": []}
    path = graph.pin_path(tensor, atom, reason)
    return {"reason": reason.text, "layer": reason.layer, "operation": reason.operation, "path": path}


def _coupled(graph: DependencyGraph, tensor: str, dim: int, group: Group) -> list[dict[str, Any]]:
    return [
        {
            "tensor": member.tensor,
            "dim": member.dim,
            "role": member.role,
            "path": graph.coupling_path(tensor, member, group.atom),
        }
        for member in group.members
        if (member.tensor, member.dim) != (tensor, dim)
    ]

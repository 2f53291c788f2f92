"""Why layers are coupled and why axes are pinned, told in the user's layer names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from graphprune.axes.call import Reason
from graphprune.axes.groups import Group
from graphprune.axes.network import Network
from graphprune.axes.terms import Atom, Term, atoms
from graphprune.ground.errors import InputError

__all__ = ["explanation"]

_Terms = Mapping[str, tuple[Term, ...]]


def explanation(layer: str, terms: _Terms, groups: Iterable[Group], network: Network) -> dict[str, Any]:
    """See `DependencyGraph.explanation`. ``terms`` are those of the stored tensors, by name."""
    tensors = [name for name in terms if name == layer or name.rpartition(".")[0] == layer]
    if not tensors:
        raise _unknown(layer, terms)
    by_atom = {group.atom: group for group in groups}
    described: dict[str, list[dict[str, Any]]] = {}
    lines = [layer]
    for tensor in tensors:
        described[tensor] = []
        for dim, term in enumerate(terms[tensor]):
            found = dict.fromkeys(atoms(term))
            axes = [_axis(atom, by_atom.get(atom), (tensor, dim), network) for atom in found]
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

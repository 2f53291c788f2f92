"""Why layers are coupled and why axes are pinned, told in the user's layer names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from graphprune.axes.call import Reason
from graphprune.axes.groups import Group
from graphprune.axes.network import Network
from graphprune.axes.terms import Atom, Term, atoms
from graphprune.ground.errors import InputError

__all__ = ["explain"]

Terms = Mapping[str, tuple[Term, ...]]


def explain(layer: str, terms: Terms, groups: Iterable[Group], network: Network) -> str:
    """See `DependencyGraph.explain`. ``terms`` are those of the stored tensors, by name."""
    tensors = [name for name in terms if name == layer or name.rpartition(".")[0] == layer]
    if not tensors:
        raise _unknown(layer, terms)
    by_atom = {group.atom: group for group in groups}
    lines = [layer]
    for tensor in tensors:
        for dim, term in enumerate(terms[tensor]):
            written = f" = {term}" if str(term)[0] == "(" else ""
            lines.append(f"  {tensor}[{dim}] of size {term.size}{written}")
            for atom in dict.fromkeys(atoms(term)):
                told = _group(by_atom.get(atom), atom, (tensor, dim), network)
                told = _pins(atom, tensor, network) if atom.pins else told
                lines += (f"    {line}" for line in told)
    return "\n".join(lines)


def _unknown(layer: str, terms: Terms) -> InputError:
    layers = sorted({name.rpartition(".")[0] for name in terms} | set(terms))
    near = get_close_matches(layer, layers, 3, 0.4)
    below = [name for name in layers if name.startswith(f"{layer}.")][:3]
    return InputError(
        f"there is no layer {layer!r} with tensors of its own",
        f"did you mean {', '.join(below or near)}?" if below or near else "see `graphprune inspect`",
    )


def _pins(atom: Atom, tensor: str, network: Network) -> Iterator[str]:
    for reason in atom.pins:
        path = network.path(atom, tensor, reason.operation) if isinstance(reason, Reason) else []
        yield f"{atom.size} pinned: {reason}" + (f"; path: {' → '.join(path)}" if path else "")


def _group(group: Group | None, atom: Atom, own: tuple[str, int], network: Network) -> Iterator[str]:
    """The group of ``atom``, and the members other than the dimension that is explained."""
    if group is None:
        why = "a single unit, cannot be removed" if atom.size == 1 else "not a group"
        yield f"{atom.size}: {why}"
        return
    fibre = f", chosen separately for each of {group.fibre.size}" if group.fibre else ""
    yield f"{atom.size} units of group {group.name}{fibre}, coupled with"
    for member in group.members:
        if (member.tensor, member.dim) != own:
            path = " → ".join(network.path(atom, own[0], network.values[member.tensor]))
            yield f"  {member.tensor}[{member.dim}] ({member.role}) through {path}"

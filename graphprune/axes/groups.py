"""Coupled groups: unpinned atoms with at least one stored tensor, their members, and their fibres."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from graphprune.axes.analysis import Analysis
from graphprune.axes.terms import Atom, Product, Sum, Term, atoms, terms_with
from graphprune.capture.operations import Operation, Value

__all__ = ["Group", "Member", "find_groups"]

_Occurrences = Callable[[Term], list[tuple[Atom, tuple[Atom, ...]]]]


@dataclass(frozen=True)
class Member:
    """Dimension ``dim`` of the stored tensor ``tensor``, in which the units of a group stand.

    Its role is "produces" if the layer makes the units (rows of a linear weight), "consumes" if it reads them
    (columns of the next one), and "carries" if they pass through (biases, norms).
    """

    tensor: str
    dim: int
    role: str

    @property
    def layer(self) -> str:
        """The module that owns the tensor."""
        return self.tensor.rpartition(".")[0]


@dataclass(frozen=True)
class Group:
    """Coupled units: unit i is removed from all members, or from none. There are ``size`` of them.

    Args:
        atom: the axis that all members share.
        fibre: an axis inside whose positions the units are chosen separately. If a projection has rows (heads
            width), ``width`` may have the fibre ``heads``: each head then keeps units of its own, equally many.
    """

    name: str
    atom: Atom
    members: tuple[Member, ...]
    fibre: Atom | None = None

    @property
    def size(self) -> int:
        """Number of units."""
        return self.atom.size

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what is known of each unit, such as a mask: ``[size]``, or ``[fibre size, size]``."""
        return (self.size,) if self.fibre is None else (self.fibre.size, self.size)


def find_groups(
    analysis: Analysis,
    operations: Iterable[Operation],
    attributes: Mapping[str, str],
    parameters: Collection[str],
) -> tuple[Group, ...]:
    """All groups, in the order in which their first member appears in the graph.

    Args:
        attributes: value name → name of the stored tensor it holds.
        parameters: names of the stored tensors that are parameters; a group has at least one.
    """
    roles = _roles(analysis, operations, attributes)
    members: dict[Atom, list[Member]] = {}
    for value, tensor in attributes.items():
        for dim, term in enumerate(analysis.terms[value]):
            for atom in dict.fromkeys(atoms(term)):
                if not atom.pins and atom.size > 1:
                    role = roles.get((value, dim, atom), "carries")
                    members.setdefault(atom, []).append(Member(tensor, dim, role))
    members = {
        atom: found for atom, found in members.items() if any(member.tensor in parameters for member in found)
    }
    fibres = _fibres(analysis, set(members), attributes)
    names = _names(analysis, members, {tensor: value for value, tensor in attributes.items()})
    return tuple(
        Group(names[atom], atom, tuple(dict.fromkeys(found)), fibres.get(atom))
        for atom, found in members.items()
    )


def _roles(
    analysis: Analysis, operations: Iterable[Operation], attributes: Mapping[str, str]
) -> dict[tuple[str, int, Atom], str]:
    """How each operator uses the atoms of the stored tensors it reads; the first use that says more wins."""
    roles: dict[tuple[str, int, Atom], str] = {}
    for operation in operations:
        inputs = list(operation.inputs)
        held = [value for value in inputs if value.name in attributes]
        if not held:
            continue
        moving = _atoms_of(analysis, (value for value in inputs if value.name not in attributes))
        result = _atoms_of(analysis, operation.outputs)
        for value in held:
            for dim, term in enumerate(analysis.terms[value.name]):
                for atom in atoms(term):
                    role = _role(atom in moving, atom in result, len(value.shape))
                    key = (value.name, dim, atom)
                    if roles.get(key, "carries") == "carries":
                        roles[key] = role
    return roles


def _role(comes_in: bool, goes_out: bool, rank: int) -> str:
    if comes_in and not goes_out:
        return "consumes"
    return "produces" if goes_out and not comes_in and rank > 1 else "carries"


def _atoms_of(analysis: Analysis, values: Iterable[Value]) -> set[Atom]:
    return {atom for value in values for term in analysis.terms[value.name] for atom in atoms(term)}


def _names(
    analysis: Analysis, members: Mapping[Atom, list[Member]], values: Mapping[str, str]
) -> dict[Atom, str]:
    """``layer.weight:dim`` of the first member that produces the group, with its place inside a product."""
    names: dict[Atom, str] = {}
    for atom, found in members.items():
        first = next((member for member in found if member.role == "produces"), found[0])
        order = list(dict.fromkeys(atoms(analysis.terms[values[first.tensor]][first.dim])))
        names[atom] = f"{first.tensor}:{first.dim}" + (f"/{order.index(atom)}" if len(order) > 1 else "")
    assert len(set(names.values())) == len(names)
    return names


def _fibres(analysis: Analysis, groups: set[Atom], attributes: Mapping[str, str]) -> dict[Atom, Atom]:
    """The fibre of each atom that always stands inside the same outer atom; of several, the largest."""
    occurrences: _Occurrences = cache(lambda term: list(terms_with(term)))
    candidates = _stored_candidates(analysis, groups, attributes, occurrences)
    for name, terms in analysis.terms.items():
        if candidates and name not in attributes:
            _narrow(terms, candidates, occurrences)
    result: dict[Atom, Atom] = {}
    for atom, beside in candidates.items():
        free = [other for other in beside if (atom, other) not in analysis.across and other.size > 1]
        if free:
            result[atom] = max(free, key=lambda other: (other.size, -other.number))
    return result


def _stored_candidates(
    analysis: Analysis, groups: set[Atom], attributes: Mapping[str, str], occurrences: _Occurrences
) -> dict[Atom, set[Atom]]:
    """Atoms that stand beside an outer atom in the same dimension of every stored tensor that has them.

    A stored vector of positions counts as well: it has one list for all places of an outer atom in another dimension.
    """
    candidates: dict[Atom, set[Atom]] = {}
    for terms in (*(analysis.terms[value] for value in attributes), tuple(analysis.points.values())):
        for term in terms:
            if isinstance(term, Atom) and term not in groups:
                continue
            for atom, outer in occurrences(term):
                if atom in groups:
                    beside = set(outer) - _repeated(term)
                    candidates[atom] = candidates.get(atom, beside) & beside
    return {atom: beside for atom, beside in candidates.items() if beside}


@cache
def _repeated(term: Term) -> frozenset[Atom]:
    """Atoms that are in several factors of one product, as in (h d) (h d): of a position there are two in each."""
    if isinstance(term, Atom):
        return frozenset()
    inner = [frozenset(atoms(part)) for part in term.parts]
    twice = [atom for part in inner for atom in part] if isinstance(term, Product) else []
    found = frozenset(atom for atom in twice if twice.count(atom) > 1)
    return found.union(*map(_repeated, term.parts))


def _narrow(terms: tuple[Term, ...], candidates: dict[Atom, set[Atom]], occurrences: _Occurrences) -> None:
    """Keeps the candidates that stand outside their atom in this tensor, exactly once."""
    before: list[Atom] = []
    for term in terms:
        for atom, outer in occurrences(term):
            if atom in candidates:
                candidates[atom] &= {*before, *outer} - _repeated(term)
        if not isinstance(term, Sum):
            before += [
                part
                for part in (term.parts if isinstance(term, Product) else (term,))
                if isinstance(part, Atom)
            ]
    for atom in {atom for term in terms for atom, _ in occurrences(term) if atom in candidates}:
        candidates[atom] = {other for other in candidates[atom] if before.count(other) <= 1}
        if not candidates[atom]:
            del candidates[atom]

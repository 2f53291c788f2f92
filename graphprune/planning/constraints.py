"""What a plan must respect besides pins: alignment, least widths, protected layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.groups import Group
from graphprune.axes.terms import Atom, Product, Term
from graphprune.errors import InputError

__all__ = ["Constraints", "Limit", "find_limits"]


@dataclass(frozen=True)
class Constraints:
    """The user's wishes.

    Args:
        align: widths are multiples of this, or stay as they are. Each part of a concatenation is aligned by
            itself; parts narrower than this cannot be.
        min_keep: units that every group keeps at least (for every position of its fibre).
        protect: patterns (``fnmatch``) of layers none of whose tensors may change.
    """

    align: int = 1
    min_keep: int = 1
    protect: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("align", "min_keep"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name}={value!r} is not a positive whole number", f"give {name}=1 or more")


@dataclass(frozen=True)
class Limit:
    """The sizes a group may take: multiples of ``step`` from ``least`` on, or its full ``size``."""

    size: int
    step: int
    least: int

    def whole(self) -> Limit:
        """The limit of a group that nothing may be removed from."""
        return Limit(self.size, self.step, self.size)

    def near(self, wanted: float) -> int:
        """The permitted size nearest to ``wanted``."""
        rounded = int(wanted / self.step + 0.5) * self.step
        return self.size if wanted >= self.size else min(max(rounded, self.least), self.size)

    def above(self, size: int) -> int:
        """The next larger permitted size."""
        return min(size + self.step, self.size)


def find_limits(graph: DependencyGraph, constraints: Constraints) -> dict[str, Limit]:
    """The limit of every group.

    Raises:
        InputError: a pattern of ``protect`` matches no layer.
    """
    protected = _protected(graph, constraints.protect)
    steps = _steps(graph, constraints.align)
    limits = {}
    for group in graph.groups:
        step = steps.get(group.atom, 1)
        least = -(-max(constraints.min_keep, 1) // step) * step
        fixed = group.name in protected or least >= group.size
        limits[group.name] = Limit(group.size, step, group.size if fixed else least)
    return limits


def _protected(graph: DependencyGraph, patterns: Iterable[str]) -> set[str]:
    """Groups with a member in a protected layer (or below it)."""
    layers = {name.rpartition(".")[0] for name in graph.tensor_terms} | set(graph.tensor_terms)
    chosen: set[str] = set()
    for pattern in patterns:
        found = {name for name in layers if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")}
        if not found:
            near = get_close_matches(pattern, sorted(layers), 3, 0.4)
            raise InputError(
                f"protect={pattern!r} matches no layer",
                f"did you mean {', '.join(near)}?" if near else "see `graphprune inspect` for the names",
            )
        chosen |= found
    return {
        group.name
        for group in graph.groups
        if any(member.tensor in chosen or member.layer in chosen for member in group.members)
    }


def _steps(graph: DependencyGraph, align: int) -> dict[Atom, int]:
    """Which atoms must take multiples of ``align`` for every stored dimension to be one.

    In a product one aligned factor is enough: the innermost that is wide enough itself. A pinned factor that
    is a multiple already serves.
    """
    steps: dict[Atom, int] = {}
    if align == 1:
        return steps
    free: Mapping[Atom, Group] = {group.atom: group for group in graph.groups}
    for terms in graph.tensor_terms.values():
        for term in terms:
            for atom in _aligned(term, free, align):
                steps[atom] = align
    return steps


def _aligned(term: Term, free: Mapping[Atom, Group], align: int) -> Iterable[Atom]:
    if isinstance(term, Atom):
        if term in free:
            yield term
        return
    if not isinstance(term, Product):
        for part in term.parts:
            yield from _aligned(part, free, align)
        return
    pinned = 1
    candidates = [part for part in term.parts if isinstance(part, Atom) and part in free]
    for part in term.parts:
        pinned *= 1 if any(part is other for other in candidates) else part.size
    if pinned % align and candidates:
        wide = [atom for atom in candidates if atom.size >= align]
        yield wide[-1] if wide else max(candidates, key=lambda atom: atom.size)

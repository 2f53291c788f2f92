"""Which groups must take multiples of what, for every tensor to have widths of the multiple asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.groups import Group
from graphprune.axes.kinds import layers
from graphprune.axes.terms import Atom, Product, Term

__all__ = ["steps"]


def steps(graph: DependencyGraph, align: int | Mapping[str, int]) -> dict[Atom, int]:
    """Atom → the multiple it must take; those that may take any size are left out.

    A group is aligned to the largest multiple that one of its tensors or layers asks for. In a product one aligned
    factor is enough: of 4 heads × 16 units, aligned to 8, the units become multiples of 8 and the heads are free. It is
    the innermost factor that is wide enough itself; none is needed where a pinned factor is a multiple already.

    Args:
        align: one multiple for every stored dimension, or one for the channels of every kind of layer.
    """
    found: dict[Atom, int] = {}
    for term, multiple in _wishes(graph, align):
        for atom in _aligned(term, graph.by_atom, multiple) if multiple > 1 else ():
            found[atom] = max(multiple, found.get(atom, 1))
    return found


def _wishes(graph: DependencyGraph, align: int | Mapping[str, int]) -> Iterator[tuple[Term, int]]:
    if isinstance(align, int):
        for terms in graph.tensor_terms.values():
            yield from ((term, align) for term in terms)
        return
    for layer in layers(graph.program.operations, graph.analysis.terms):
        yield from ((term, align.get(layer.kind, 1)) for term in layer.channels)


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

"""Groups that a configuration treats alike: those of one kind and size, in all layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.terms import Term, atoms, size_of
from graphprune.cutting.fitting import kind_of
from graphprune.pretrained.blueprint import Shapes

__all__ = ["Family", "families_of", "parts_of", "shapes_at", "sizes_with"]


@dataclass(frozen=True)
class Family:
    """Groups that keep the same number of units.

    Args:
        kind: the name that they share, with # for the numbers of layers.
        size: units of each.
        names: of the groups.
    """

    kind: str
    size: int
    names: tuple[str, ...]


def families_of(graph: DependencyGraph) -> tuple[Family, ...]:
    """All groups of a model, by what they are and how wide."""
    found: dict[tuple[str, int], list[str]] = {}
    for group in graph.groups:
        found.setdefault((kind_of(group.name), group.size), []).append(group.name)
    return tuple(Family(kind, size, tuple(names)) for (kind, size), names in found.items())


def shapes_at(graph: DependencyGraph, sizes: Mapping[str, int]) -> Shapes:
    """The shape of every tensor that the graph reads where groups have these sizes, under all its names."""
    by_atom = {graph.by_name[name].atom: size for name, size in sizes.items()}
    return {
        name: tuple(size_of(term, by_atom) for term in terms)
        for tensor, terms in graph.tensor_terms.items()
        for name in graph.program.stored[tensor].names
    }


def parts_of(term: Term) -> list[Term]:
    """A term and all terms within it."""
    return [term, *(inner for part in getattr(term, "parts", ()) for inner in parts_of(part))]


def sizes_with(graph: DependencyGraph, family: Family) -> set[int]:
    """The sizes of all dimensions, and of the parts of these, that change with the units of a family."""
    moved = {graph.by_name[name].atom for name in family.names}
    every = {part for dims in graph.analysis.terms.values() for term in dims for part in parts_of(term)}
    return {term.size for term in every if moved.intersection(atoms(term))}

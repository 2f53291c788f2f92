"""Frozen axis terms: what the solved equations say of each dimension, and index arithmetic on them.

A term is an `Atom`, a `Product` (outer to inner), a `Sum` (first to last) or something `Permuted`. All arithmetic is on
plain integers and numpy-free; sizes of a plan are given as a mapping from atoms to their new sizes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Union

__all__ = [
    "Atom",
    "Permuted",
    "Product",
    "Sum",
    "Term",
    "atoms",
    "permuted_term",
    "product_term",
    "size_of",
    "sum_term",
    "terms_with",
]


@dataclass(frozen=True, eq=False)
class Atom:
    """A named size. Two dimensions that carry the same atom are indexed by the same thing.

    ``pins`` are the reasons for which nothing may be removed; empty if units can be removed.
    """

    number: int
    size: int
    pins: tuple[Hashable, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return f"a{self.number}:{self.size}"


@dataclass(frozen=True, eq=False)
class Product:
    """An index that runs over ``parts``, outer to inner."""

    parts: tuple[Term, ...]
    size: int

    def __str__(self) -> str:
        return f"({' '.join(f'({part})' if isinstance(part, Sum) else str(part) for part in self.parts)})"


@dataclass(frozen=True, eq=False)
class Sum:
    """The concatenation of ``parts``."""

    parts: tuple[Term, ...]
    size: int

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts))


@dataclass(frozen=True, eq=False)
class Permuted:
    """The positions of its only part in another order: position p is position ``order[p]`` of it."""

    parts: tuple[Term]
    order: tuple[int, ...]
    size: int

    def __str__(self) -> str:
        return f"permuted({self.parts[0]})"


Term = Union[Atom, Product, Sum, Permuted]  # noqa: UP007  (a runtime alias of a forward reference)


def product_term(parts: Sequence[Term]) -> Term:
    """The product of ``parts``, flattened."""
    flat = _flat(Product, parts)
    return flat[0] if len(flat) == 1 else Product(flat, prod(part.size for part in flat))


def sum_term(parts: Sequence[Term]) -> Term:
    """The concatenation of ``parts``, flattened."""
    flat = _flat(Sum, parts)
    return flat[0] if len(flat) == 1 else Sum(flat, sum(part.size for part in flat))


def permuted_term(parts: Sequence[Term], order: Sequence[int]) -> Term:
    """The only part in another order."""
    (part,) = parts
    return Permuted((part,), tuple(order), part.size)


def _flat(kind: type[Product | Sum], parts: Sequence[Term]) -> tuple[Term, ...]:
    return tuple(leaf for part in parts for leaf in (part.parts if isinstance(part, kind) else (part,)))


def atoms(term: Term) -> Iterator[Atom]:
    """Every occurrence of an atom in ``term``, in order."""
    if isinstance(term, Atom):
        yield term
    else:
        for part in term.parts:
            yield from atoms(part)


def size_of(term: Term, sizes: Mapping[Atom, int]) -> int:
    """The size of ``term`` when the atoms in ``sizes`` have those sizes and all others keep theirs."""
    if isinstance(term, Atom):
        return sizes.get(term, term.size)
    if isinstance(term, Product):
        return prod(size_of(part, sizes) for part in term.parts)
    return sum(size_of(part, sizes) for part in term.parts)


def terms_with(term: Term, outer: tuple[Atom, ...] = ()) -> Iterator[tuple[Atom, tuple[Atom, ...]]]:
    """Every occurrence of an atom with the atoms outside it in the same product: of (h d), h with none, d with h.

    A factor that is a sum is none of them: at a given position, any of its parts may stand there.
    """
    if isinstance(term, Atom):
        yield term, outer
        return
    for part in term.parts:
        yield from terms_with(part, outer)
        if isinstance(term, Product) and isinstance(part, Atom):
            outer = (*outer, part)

"""What a model costs, as a function of the sizes of its atoms.

An operator's multiply-accumulates are the product of the sizes of the axes it loops over, and a tensor's
elements the product of its dimensions, so both are known for every plan without tracing anything again. Bytes and
seconds are such sums too, with a price for each product. Whatever is a `CostFunction` can be given a budget.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from graphprune.axes.terms import Atom, Term, atoms, size_of

__all__ = ["CostFunction", "Monomial", "Polynomial"]


class CostFunction(Protocol):
    """A cost of a model at given sizes of its atoms. It never falls when a size grows."""

    def value(self, sizes: Mapping[Atom, int]) -> float:
        """The cost at ``sizes``; atoms that are not in it keep their size."""

    def change(self, sizes: Mapping[Atom, int], to: Mapping[Atom, int]) -> float:
        """By how much the cost changes when the atoms in ``to``, and no others, get those sizes."""


@dataclass(frozen=True, eq=False)
class Monomial:
    """``constant`` times the product of the sizes of ``terms``; ``name`` is the operator or tensor."""

    name: str
    constant: float
    terms: tuple[Term, ...]

    def value(self, sizes: Mapping[Atom, int]) -> float:
        """Its value at ``sizes``."""
        result = self.constant
        for term in self.terms:
            result *= size_of(term, sizes)
        return result


@dataclass(frozen=True)
class Polynomial:
    """A sum of monomials, such as the multiply-accumulates of one example.

    Args:
        monomials: the products that are added.
        unit: sizes of atoms that a plan does not change, where they differ from those traced (the batch size).
    """

    monomials: tuple[Monomial, ...]
    unit: Mapping[Atom, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        products: Iterable[tuple[str, tuple[Term, ...]]],
        free: Container[Atom],
        unit: Mapping[Atom, int],
        prices: Mapping[str, float] | None = None,
    ) -> Polynomial:
        """The sum of ``products``, named products of terms.

        Args:
            free: atoms whose sizes may change; terms without any become constants, at the sizes ``unit``.
            prices: name → the factor of that product, 1 if it is not there.
        """
        monomials = []
        for name, terms in products:
            constant: float = (prices or {}).get(name, 1)
            variable = []
            for term in terms:
                if any(atom in free for atom in atoms(term)):
                    variable.append(term)
                else:
                    constant *= size_of(term, unit)
            monomials.append(Monomial(name, constant, tuple(variable)))
        mixed = {atom for monomial in monomials for term in monomial.terms for atom in atoms(term)}
        return cls(tuple(monomials), {atom: size for atom, size in unit.items() if atom in mixed})

    @cached_property
    def by_atom(self) -> dict[Atom, tuple[Monomial, ...]]:
        """The monomials in which each atom stands."""
        found: dict[Atom, dict[Monomial, None]] = {}
        for monomial in self.monomials:
            for term in monomial.terms:
                for atom in atoms(term):
                    found.setdefault(atom, {})[monomial] = None
        return {atom: tuple(monomials) for atom, monomials in found.items()}

    def value(self, sizes: Mapping[Atom, int]) -> float:
        """The whole cost at ``sizes``; atoms that are not in it keep their size."""
        sizes = {**self.unit, **sizes}
        known: dict[Term, int] = {}
        total: float = 0
        for monomial in self.monomials:
            product = monomial.constant
            for term in monomial.terms:
                if term not in known:
                    known[term] = size_of(term, sizes)
                product *= known[term]
            total += product
        return total

    def change(self, sizes: Mapping[Atom, int], to: Mapping[Atom, int]) -> float:
        """By how much the cost changes when the atoms in ``to``, and no others, get those sizes."""
        sizes = {**self.unit, **sizes}
        changed = {**sizes, **to}
        touched = dict.fromkeys(monomial for atom in to for monomial in self.by_atom.get(atom, ()))
        return sum(monomial.value(changed) - monomial.value(sizes) for monomial in touched)

"""The cost of a model as a polynomial in the sizes of its atoms.

An operator's multiply-accumulates are the product of the sizes of the axes it loops over, and a tensor's
elements the product of its dimensions, so both are known for every plan without tracing anything again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from graphprune.axes.terms import Atom, Term, atoms, size_of

__all__ = ["Monomial", "Polynomial"]


@dataclass(frozen=True, eq=False)
class Monomial:
    """``constant`` times the product of the sizes of ``terms``; ``name`` is the operator or tensor."""

    name: str
    constant: int
    terms: tuple[Term, ...]

    def value(self, sizes: Mapping[Atom, int]) -> int:
        """Its value at ``sizes``."""
        result = self.constant
        for term in self.terms:
            result *= size_of(term, sizes)
        return result


@dataclass(frozen=True)
class Polynomial:
    """A sum of monomials: multiply-accumulates of one example, or parameters."""

    monomials: tuple[Monomial, ...]
    unit: Mapping[Atom, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, products: Iterable[tuple[str, tuple[Term, ...]]], free: set[Atom], unit: Mapping[Atom, int]
    ) -> Polynomial:
        """Of named products of terms. Terms without ``free`` atoms become constants, at the sizes ``unit``."""
        monomials = []
        for name, terms in products:
            constant, variable = 1, []
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

    def value(self, sizes: Mapping[Atom, int]) -> int:
        """The whole cost at ``sizes``; atoms that are not in it keep their size."""
        sizes = {**self.unit, **sizes}
        known: dict[Term, int] = {}
        total = 0
        for monomial in self.monomials:
            product = monomial.constant
            for term in monomial.terms:
                if term not in known:
                    known[term] = size_of(term, sizes)
                product *= known[term]
            total += product
        return total

    def change(self, sizes: Mapping[Atom, int], atom: Atom, size: int) -> int:
        """By how much the cost changes when ``atom`` alone gets ``size``."""
        sizes = {**self.unit, **sizes}
        changed = {**sizes, atom: size}
        return sum(monomial.value(changed) - monomial.value(sizes) for monomial in self.by_atom.get(atom, ()))

"""Arithmetic on solved terms against brute force: masks with fibres, sums per unit, costs."""

from __future__ import annotations

import random
from itertools import count
from math import prod

import pytest
import torch
from laws import kept_mask
from torch import Tensor

from graphprune.axes.cost import Polynomial
from graphprune.axes.terms import Atom, Term, atoms, product_term, size_of, sum_term, terms_with
from graphprune.planning.masks import Masks


class Vocabulary:
    """Atoms to build random terms of: two fibres, two atoms chosen by the first and one by the second."""

    def __init__(self, source: random.Random) -> None:
        numbers = count()
        self.random = source
        self.heads, self.groups, *rest = (Atom(next(numbers), source.randint(2, 4)) for _ in range(7))
        self.width, self.value, self.inner, *self.plain = rest
        self.fibres = {self.width: self.heads, self.value: self.heads, self.inner: self.groups}

    @property
    def atoms(self) -> list[Atom]:
        return [self.heads, self.groups, self.width, self.value, self.inner, *self.plain]

    def term(
        self, depth: int, used: frozenset[Atom] = frozenset(), open_: frozenset[Atom] = frozenset()
    ) -> Term:
        """A random term of atoms that are not ``used``, fibred ones where their fibre is ``open_``."""
        free = [atom for atom in (self.heads, self.groups, *self.plain) if atom not in used]
        inside = [atom for atom, fibre in self.fibres.items() if fibre in open_ and atom not in used]
        kind = self.random.choice(["atom", "product", "product", "sum"]) if depth else "atom"
        if kind == "sum":
            return sum_term([self.term(depth - 1, used, open_) for _ in range(self.random.randint(2, 3))])
        if kind == "product" and len(free) > 2:
            return self._product(depth, used, open_)
        return self.random.choice([*free, *inside, *inside])

    def _product(self, depth: int, used: frozenset[Atom], open_: frozenset[Atom]) -> Term:
        parts: list[Term] = []
        for _ in range(self.random.randint(2, 3)):
            if used >= {self.heads, self.groups, *self.plain}:
                break
            part = self.term(depth - 1, used, open_)
            parts.append(part)
            used |= set(atoms(part))
            if isinstance(part, Atom):  # what stands in a sum is not beside all that follows
                open_ |= {part}
        return product_term(parts)

    def kept(self) -> dict[Atom, Tensor]:
        """A random part of every atom, of the same number in each row of a fibre."""
        chosen: dict[Atom, Tensor] = {}
        for atom in self.atoms:
            number = self.random.randint(1, atom.size)
            rows = self.fibres[atom].size if atom in self.fibres else 1
            mask = torch.zeros(rows, atom.size, dtype=torch.bool)
            for row in mask:
                row[self.random.sample(range(atom.size), number)] = True
            chosen[atom] = mask if atom in self.fibres else mask[0]
        return chosen


def small_terms() -> list[tuple[Vocabulary, Term]]:
    found = []
    for seed in range(300):
        vocabulary = Vocabulary(random.Random(seed))
        term = vocabulary.term(3)
        if term.size <= 400:
            found.append((vocabulary, term))
    return found


TERMS = small_terms()


def test_random_terms_have_fibres() -> None:
    fibred = [term for vocabulary, term in TERMS if set(atoms(term)) & set(vocabulary.fibres)]
    assert len(fibred) > 80


def test_masks_keep_what_all_units_keep() -> None:
    for vocabulary, term in TERMS:
        kept = vocabulary.kept()
        masks = Masks(kept, vocabulary.fibres)
        expected = kept_mask((term,), kept, vocabulary.fibres)
        assert torch.equal(masks.of(term), expected), str(term)
        assert masks.size(term) == int(expected.sum())
        assert masks.touches(term) == (masks.size(term) != term.size)


def test_size_of_counts_positions() -> None:
    for vocabulary, term in TERMS:
        kept = vocabulary.kept()
        sizes = {atom: int((mask if mask.dim() == 1 else mask[0]).sum()) for atom, mask in kept.items()}
        assert size_of(term, {}) == term.size
        assert size_of(term, sizes) == int(kept_mask((term,), kept, vocabulary.fibres).sum())


def test_terms_with_names_the_atoms_outside() -> None:
    heads, width, three, two = (Atom(number, size) for number, size in enumerate((2, 4, 3, 2)))
    term = sum_term([product_term([three, heads, width]), product_term([sum_term([heads, two]), width])])
    found = [(str(atom), [str(other) for other in outer]) for atom, outer in terms_with(term)]
    assert found == [
        ("a2:3", []),
        ("a0:2", ["a2:3"]),
        ("a1:4", ["a2:3", "a0:2"]),
        ("a0:2", []),
        ("a3:2", []),
        ("a1:4", []),
    ]


# -- costs --------------------------------------------------------------------------------------------------
def cost_of(source: random.Random) -> tuple[Polynomial, list[Atom], dict[Atom, int], list[tuple[Term, ...]]]:
    """A random polynomial, its free atoms, the actual sizes of the others, and the products it came from."""
    vocabulary = Vocabulary(source)
    free = source.sample(vocabulary.atoms, 4)
    unit = {atom: source.randint(1, 3) for atom in vocabulary.atoms if atom not in free}
    products = [tuple(vocabulary.term(2) for _ in range(source.randint(1, 4))) for _ in range(6)]
    named = ((f"op{index}", terms) for index, terms in enumerate(products))
    return Polynomial.of(named, set(free), unit), free, unit, products


@pytest.mark.parametrize("seed", range(30))
def test_polynomial_is_the_sum_of_products_of_sizes(seed: int) -> None:
    source = random.Random(seed)
    polynomial, free, unit, products = cost_of(source)
    sizes = {atom: source.randint(1, atom.size) for atom in free}

    def direct(sizes: dict[Atom, int]) -> int:
        return sum(prod(size_of(term, {**unit, **sizes}) for term in terms) for terms in products)

    assert polynomial.value({}) == direct({})
    assert polynomial.value(sizes) == direct(sizes)
    for atom in free:
        size = source.randint(1, atom.size)
        assert polynomial.change(sizes, {atom: size}) == direct({**sizes, atom: size}) - direct(sizes)


def test_what_cannot_change_becomes_a_constant() -> None:
    batch, width, out = (Atom(number, size) for number, size in enumerate((1000003, 4, 5)))
    products = [("linear", (batch, width, out)), ("other", (batch, out))]
    polynomial = Polynomial.of(products, {width}, {batch: 2})
    assert [(m.name, m.constant, m.terms) for m in polynomial.monomials] == [
        ("linear", 10, (width,)),
        ("other", 10, ()),
    ]
    assert polynomial.value({}) == 50
    assert polynomial.value({width: 3}) == 40
    assert polynomial.change({}, {width: 3}) == -10
    assert polynomial.change({}, {out: 3}) == 0

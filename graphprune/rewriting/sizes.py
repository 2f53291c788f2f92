"""New values of literals that are sizes of axes, numbers or nodes that compute them when the model is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import fx

from graphprune.axes.terms import Atom, Permuted, Product, Sum, Term, size_of
from graphprune.planning.masks import Masks

__all__ = ["Scaled", "reordered", "resized", "restored"]

_Sizes = Mapping[Atom, int]
_Monomial = tuple[Atom, ...]


@dataclass(frozen=True)
class Scaled:
    """``node * times // parts + plus``, to be computed in the graph."""

    node: fx.Node
    times: int = 1
    parts: int = 1
    plus: int = 0


def resized(literal: Any, term: Term, masks: Masks) -> Any:
    """A literal that is the size of ``term``, as one of its new size; -1 infers itself.

    A node computes the size from those of a call. Its value is scaled where ``term`` is a product with what is
    removed, and shifted where it is a sum, so that it is right at the sizes of every call.
    """
    if not masks.touches(term) or (isinstance(literal, int) and literal == -1):
        return literal
    if isinstance(literal, int):
        return masks.size(term)
    return _scaled(literal, term, masks, {}, masks.sizes)


def restored(node: fx.Node, term: Term, masks: Masks) -> Any:
    """The old size of ``term``, where ``node`` reads the new one."""
    return _scaled(node, term, masks, masks.sizes, {}) if masks.touches(term) else node


def reordered(term: Permuted, masks: Masks) -> tuple[int, ...]:
    """The order of a permutation of which a part is gone: what is left is counted anew."""
    (kept, _), (base, _) = masks.opened(term), masks.opened(term.parts[0])
    kept, base = (mask if mask.dim() == 1 else mask[0] for mask in (kept, base))  # alike in every row
    counted = base.cumsum(0) - 1
    return tuple(counted[torch.tensor(term.order)[kept]].tolist())


def _scaled(node: fx.Node, term: Term, masks: Masks, before: _Sizes, after: _Sizes) -> Scaled:
    """What ``node``, the size of ``term`` with atoms of sizes ``before``, comes to with those ``after``."""
    old, new = _polynomial(term, masks, before), _polynomial(term, masks, after)
    ratios = {Fraction(new[monomial], old[monomial]) for monomial in old}
    if len(ratios) > 1 and {m: c for m, c in old.items() if m} == {m: c for m, c in new.items() if m}:
        return Scaled(node, plus=new[()] - old[()])
    ratio = Fraction(size_of(term, after), size_of(term, before))
    return Scaled(node, ratio.numerator, ratio.denominator)


def _polynomial(term: Term, masks: Masks, sizes: _Sizes) -> Counter[_Monomial]:
    """The size of ``term`` in those of its atoms: factors → coefficient; a changed atom is a number, see ``sizes``."""
    if isinstance(term, Atom):
        number = masks.touches(term)
        return Counter({(): sizes.get(term, term.size)}) if number else Counter({(term,): 1})
    parts = [_polynomial(part, masks, sizes) for part in term.parts]
    if isinstance(term, Sum | Permuted):
        return sum(parts, Counter())
    assert isinstance(term, Product)
    product: Counter[_Monomial] = Counter({(): 1})
    for part in parts:
        product, factor = Counter(), product
        for one, times in factor.items():
            for other, more in part.items():
                monomial = tuple(sorted((*one, *other), key=lambda atom: atom.number))
                product[monomial] += times * more
    return product

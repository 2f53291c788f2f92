"""From kept units of atoms to kept positions of dimensions.

A dimension's kept positions follow from its term: a sum concatenates, a product multiplies. A fibred atom
keeps its own units for each position of its fibre, so its mask has a leading dimension over the fibre until
the product that holds the fibre closes it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from graphprune.axes.terms import Atom, Product, Sum, Term, atoms, size_of

__all__ = ["Masks"]


_Mask = tuple[
    Tensor, Atom | None
]  # kept positions; ``[size]``, or ``[fibre size, size]`` while a fibre is open


class Masks:
    """Kept positions under one choice of units.

    Args:
        kept: atom → boolean ``[size]``, or ``[fibre size, size]`` for a fibred atom.
        fibres: fibred atom → its fibre.
        lengths: actual sizes of atoms that depend on the batch.
    """

    def __init__(
        self,
        kept: Mapping[Atom, Tensor],
        fibres: Mapping[Atom, Atom],
        lengths: Mapping[Atom, int] | None = None,
    ) -> None:
        self.kept = kept
        self.lengths = lengths or {}
        self.fibres = fibres
        self.sizes: dict[Atom, int] = {
            atom: int((mask if mask.dim() == 1 else mask[0]).sum()) for atom, mask in kept.items()
        }
        self._known: dict[Term, _Mask] = {}
        self._touched: dict[Term, bool] = {}

    def touches(self, term: Term) -> bool:
        """Whether anything is removed from ``term``."""
        if term not in self._touched:
            self._touched[term] = any(self.sizes.get(atom, atom.size) != atom.size for atom in atoms(term))
        return self._touched[term]

    def size(self, term: Term) -> int:
        """The new size of ``term``."""
        return size_of(term, self.sizes) if self.touches(term) else term.size

    def of(self, term: Term) -> Tensor:
        """Boolean ``[size]``. Where ``term`` has a fibred atom, it must have the atom's fibre as a factor too."""
        kept, fibre = self.opened(term)
        assert fibre is None
        return kept

    def opened(self, term: Term) -> tuple[Tensor, Atom | None]:
        """Boolean ``[size]`` and None; or ``[fibre size, size]`` and the fibre, if that is in another dimension."""
        if term not in self._known:
            self._known[term] = self._compute(term)
        return self._known[term]

    def _compute(self, term: Term) -> _Mask:
        if isinstance(term, Atom):
            kept = self.kept.get(term)
            if kept is None:
                return torch.ones(self.lengths.get(term, term.size), dtype=torch.bool), None
            return kept, self.fibres[term] if kept.dim() == 2 else None
        parts = [self.opened(part) for part in term.parts]
        return self._joined(parts) if isinstance(term, Sum) else self._multiplied(term, parts)

    @staticmethod
    def _joined(parts: list[_Mask]) -> _Mask:
        fibre = next((fibre for _, fibre in parts if fibre is not None), None)
        if fibre is None:
            return torch.cat([kept for kept, _ in parts]), None
        rows = [kept.expand(fibre.size, -1) if own is None else kept for kept, own in parts]
        return torch.cat(rows, dim=1), fibre

    @staticmethod
    def _multiplied(term: Product, parts: list[_Mask]) -> _Mask:
        """Every factor along its own dimension; an open fibre runs along the factor that is its atom."""
        rank = len(parts)
        open_fibre = None
        result = torch.ones([1] * (rank + 1), dtype=torch.bool)  # dimension 0 is for a fibre left open
        for place, (kept, fibre) in enumerate(parts):
            shape = [1] * (rank + 1)
            shape[place + 1] = kept.shape[-1]
            if fibre is not None:
                inside = fibre in term.parts[:place]
                along = term.parts.index(fibre) + 1 if inside else 0
                shape[along] = fibre.size
                open_fibre = open_fibre if inside else fibre
            result = result & kept.reshape(shape)
        return result.reshape(*([-1] if open_fibre is None else [open_fibre.size, -1])), open_fibre

"""From kept units of atoms to kept positions of dimensions.

A dimension's kept positions follow from its term: a sum concatenates, a product multiplies. A fibred atom
keeps its own units for each position of its fibre, so its mask has a leading dimension over the fibre until
the product that holds the fibre closes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from graphprune.axes.terms import Atom, Product, Sum, Term, atoms, size_of

__all__ = ["Masks"]


@dataclass(frozen=True)
class _Mask:
    """Kept positions, ``[size]``, or ``[fibre size, size]`` while a fibre is open."""

    kept: Tensor
    fibre: Atom | None = None


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
        mask = self._mask(term)
        assert mask.fibre is None
        return mask.kept

    def opened(self, term: Term) -> tuple[Tensor, Atom | None]:
        """Boolean ``[size]`` and None; or ``[fibre size, size]`` and the fibre, if that is in another dimension."""
        mask = self._mask(term)
        return mask.kept, mask.fibre

    def _mask(self, term: Term) -> _Mask:
        if term not in self._known:
            self._known[term] = self._compute(term)
        return self._known[term]

    def _compute(self, term: Term) -> _Mask:
        if isinstance(term, Atom):
            kept = self.kept.get(term)
            if kept is None:
                return _Mask(torch.ones(self.lengths.get(term, term.size), dtype=torch.bool))
            return _Mask(kept, self.fibres[term] if kept.dim() == 2 else None)
        parts = [self._mask(part) for part in term.parts]
        return self._joined(parts) if isinstance(term, Sum) else self._multiplied(term, parts)

    @staticmethod
    def _joined(parts: list[_Mask]) -> _Mask:
        fibre = next((part.fibre for part in parts if part.fibre is not None), None)
        if fibre is None:
            return _Mask(torch.cat([part.kept for part in parts]))
        rows = [part.kept.expand(fibre.size, -1) if part.fibre is None else part.kept for part in parts]
        return _Mask(torch.cat(rows, dim=1), fibre)

    @staticmethod
    def _multiplied(term: Product, parts: list[_Mask]) -> _Mask:
        """Every factor along its own dimension; an open fibre runs along the factor that is its atom."""
        rank = len(parts)
        open_fibre = None
        result = torch.ones([1] * (rank + 1), dtype=torch.bool)  # dimension 0 is for a fibre left open
        for place, part in enumerate(parts):
            shape = [1] * (rank + 1)
            shape[place + 1] = part.kept.shape[-1]
            if part.fibre is not None:
                inside = part.fibre in term.parts[:place]
                along = term.parts.index(part.fibre) + 1 if inside else 0
                shape[along] = part.fibre.size
                open_fibre = open_fibre if inside else part.fibre
            result = result & part.kept.reshape(shape)
        return _Mask(result.reshape(*([-1] if open_fibre is None else [open_fibre.size, -1])), open_fibre)

"""From kept units of atoms to kept positions of dimensions.

A position of a dimension is kept if every unit that stands there is. A fibred atom keeps units of its own for each
position of its fibre; where the fibre stands in another dimension, the mask has a leading dimension over the fibre.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from graphprune.axes.positions import index_of, occurrences
from graphprune.axes.terms import Atom, Term, atoms, size_of

__all__ = ["Masks"]


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
        self.lengths = dict(lengths or {})
        self.fibres = fibres
        self.sizes: dict[Atom, int] = {
            atom: int((mask if mask.dim() == 1 else mask[0]).sum()) for atom, mask in kept.items()
        }
        self._known: dict[Term, tuple[Tensor, Atom | None]] = {}
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

    def _compute(self, term: Term) -> tuple[Tensor, Atom | None]:
        result, open_fibre = torch.ones(size_of(term, self.lengths), dtype=torch.bool), None
        for atom in dict.fromkeys(atom for atom in atoms(term) if atom in self.kept):
            kept, fibre = self.kept[atom], self.fibres.get(atom)
            for units in occurrences(term, atom, self.lengths):
                stays = kept[..., units] | (units < 0)
                if fibre is not None and kept.dim() == 2:
                    row = index_of(term, fibre, self.lengths)
                    closed = stays.gather(0, row.clamp_min(0).unsqueeze(0))[0]
                    is_open = bool(((row < 0) & (units >= 0)).any())
                    stays = torch.where(row < 0, stays, closed) if is_open else closed
                    open_fibre = fibre if is_open else open_fibre
                result = result & stays
        return result, open_fibre

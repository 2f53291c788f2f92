"""Sums numbers per position of a dimension into numbers per unit of the atoms that stand there."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from graphprune.axes.terms import Atom, Product, Sum, Term, atoms

__all__ = ["Spread"]


class Spread:
    """Collects, for every atom, one number per unit: ``[size]``, or ``[fibre size, size]`` if fibred."""

    def __init__(self, fibres: Mapping[Atom, Atom]) -> None:
        self.fibres = fibres
        self.sums: dict[Atom, Tensor] = {}

    def of(self, atom: Atom, fibre: Atom | None) -> Tensor:
        """What was collected for ``atom``; zeros if nothing was."""
        shape = (atom.size,) if fibre is None else (fibre.size, atom.size)
        return self.sums.get(atom, torch.zeros(shape, dtype=torch.float64))

    def add(self, term: Term, values: Tensor, wanted: Collection[Atom]) -> None:
        """Adds ``values`` ``[size of term]`` to the units of the ``wanted`` atoms at those positions."""
        self._add(term, values, None, wanted)

    def _add(self, term: Term, values: Tensor, fibre: Atom | None, wanted: Collection[Atom]) -> None:
        if isinstance(term, Atom):
            if term in wanted:
                known = self.sums.get(term)
                self.sums[term] = values if known is None else known + values
        elif isinstance(term, Sum):
            pieces = values.split([part.size for part in term.parts], dim=-1)
            for part, piece in zip(term.parts, pieces, strict=True):
                self._add(part, self._for(part, piece, fibre), fibre, wanted)
        else:
            self._add_product(term, values, fibre, wanted)

    def _for(self, part: Term, values: Tensor, fibre: Atom | None) -> Tensor:
        """An atom that has no fibre of its own sums over the one that is open."""
        own = self.fibres.get(part) if isinstance(part, Atom) else fibre
        return values.sum(0) if fibre is not None and own is not fibre and isinstance(part, Atom) else values

    def _add_product(
        self, term: Product, values: Tensor, fibre: Atom | None, wanted: Collection[Atom]
    ) -> None:
        lead = values.dim() - 1  # a leading dimension over a fibre that stands further out
        grid = values.reshape(*values.shape[:lead], *(part.size for part in term.parts))
        for place, part in enumerate(term.parts):
            inside = {self.fibres.get(atom) for atom in atoms(part)} & set(term.parts[:place])
            beside = next(iter(inside)) if inside else None
            outer = fibre if lead and self._needs(part, fibre) else None
            keep = {place + lead}
            if beside is not None:
                keep.add(term.parts.index(beside) + lead)
            elif outer is not None:
                keep.add(0)
            others = [dim for dim in range(grid.dim()) if dim not in keep]
            self._add(part, grid.sum(others) if others else grid, beside or outer, wanted)

    def _needs(self, part: Term, fibre: Atom | None) -> bool:
        return any(self.fibres.get(atom) is fibre for atom in atoms(part))

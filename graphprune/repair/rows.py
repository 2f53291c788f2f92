"""Ridge regressions with more regressors than rows: solved among the rows, whose products with each other are few.

The slope of a ridge regression is a sum of the rows, each with a factor: ``(XᵀX + λ)⁻¹ XᵀR = Xᵀ (XXᵀ + λ)⁻¹ R``
(Saunders, Gammerman and Vovk, "Ridge Regression Learning Algorithm in Dual Variables", 1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from graphprune.ground.processes import from_all
from graphprune.repair.regression import LOOKED_AT
from graphprune.scoring.elimination import gram

__all__ = ["HeldRows", "RowHalf"]


AT_ONCE = 1024  # regressors that are widened to float64 together


class _Part(NamedTuple):
    """Rows of one batch: the number of the batch, their half, and the tensors of `RowHalf`."""

    number: int
    half: int
    x: Tensor
    r: Tensor
    counts: Tensor


@dataclass
class HeldRows:
    """Rows of a regression as they are met, batch by batch; of all processes when they are read."""

    parts: list[_Part] = field(default_factory=list)

    def add(self, number: int, half: int, x: Tensor, r: Tensor, counts: Tensor) -> None:
        """Adds the rows of one batch, or of one half of it."""
        self.parts.append(_Part(number, half, x.float().cpu(), r.float().cpu(), counts.double().cpu()))

    def halves(self) -> list[RowHalf]:
        """Those of both halves that have any rows."""
        parts = sorted((part for some in from_all(self.parts) for part in some), key=lambda part: part[:2])
        counts = torch.cat([part.counts for part in parts])
        which = torch.cat([torch.full((len(part.counts),), part.half) for part in parts])
        r, x = torch.cat([part.r.double() for part in parts], 1), torch.cat([part.x for part in parts], 1)
        self.parts, parts = [], []  # x holds them now
        products = sum(gram(some.double()) for some in x.split(AT_ONCE, -1))
        whole = RowHalf(x, r, counts, torch.as_tensor(products), torch.arange(len(counts)))
        own = (torch.nonzero(which == half).flatten() for half in (0, 1))
        return [replace(whole, own=rows) for rows in own if len(rows)]


@dataclass(frozen=True)
class RowHalf:
    """Some of the rows of one or more regressions side by side, as `graphprune.repair.regression.fit` wants a half.

    Args:
        x, r: the regressors ``[groups, rows, size]`` and the targets ``[groups, rows, outputs]`` of all rows.
        counts: how much each row counts, ``[rows]``.
        products: of all rows with each other, ``[groups, rows, rows]``.
        own: the places of those that are meant.
    """

    x: Tensor
    r: Tensor
    counts: Tensor
    products: Tensor
    own: Tensor

    @cached_property
    def rows(self) -> Tensor:
        """How many there are, each as often as it counts."""
        return self.counts[self.own].sum()

    @cached_property
    def mean(self) -> Tensor:
        """Of the targets, ``[groups, outputs]``."""
        return (self.r[:, self.own] * self._share.unsqueeze(-1)).sum(1)

    @property
    def _share(self) -> Tensor:
        return self.counts[self.own] / self.rows.clamp_min(torch.finfo(torch.float64).tiny)

    def error(self, found: tuple[Tensor, Tensor] | None, shift: Tensor | float) -> float:
        """The sum of squares that a shift ``[groups, outputs]`` and what `solved` found elsewhere leave."""
        left = self.r[:, self.own] - (shift.unsqueeze(-2) if isinstance(shift, Tensor) else shift)
        if found is not None:
            seen, factors = found
            left = left - self.products[:, self.own][..., seen] @ factors
        return float((left.square() * self.counts[self.own].unsqueeze(-1)).sum())

    def sample(self) -> RowHalf:
        """The same of at most `LOOKED_AT` to twice as many of the outputs."""
        return replace(self, r=self.r[..., :: max(self.r.shape[-1] // LOOKED_AT, 1)])

    def centred(self, intercept: bool) -> RowHalf:
        """These rows alone, without regressors; with an intercept, the products with means taken off first."""
        products = self.products[:, self.own][..., self.own]
        if intercept:
            share = self._share.unsqueeze(-1)
            off = products @ share
            products = products - off - off.mT + share.mT @ off
        own = torch.arange(len(self.own))
        return RowHalf(self.x[:, :0], self.r[:, self.own], self.counts[self.own], products, own)

    def solved(
        self, centred: RowHalf, ridge: float, intercept: bool
    ) -> tuple[tuple[Tensor, Tensor], Tensor | float]:
        """Which rows the slope is the sum of, each with its factors ``[groups, rows, outputs]``; and the shift."""
        share, root = self._share.unsqueeze(-1), self.counts[self.own].sqrt().unsqueeze(-1)
        weighed = root * centred.products * root.mT
        scale = ridge * weighed.diagonal(dim1=-2, dim2=-1).sum(-1) / self.x.shape[-1]
        scale = torch.where(scale > 0, scale, 1.0)
        weighed.diagonal(dim1=-2, dim2=-1).add_(scale.unsqueeze(-1))
        factors = root * torch.cholesky_solve(root * self.r[:, self.own], torch.linalg.cholesky(weighed))
        if not intercept:
            return (self.own, factors), 0.0
        factors = factors - share * factors.sum(1, keepdim=True)
        own = self.products[:, self.own][..., self.own]
        return (self.own, factors), self.mean - (share.mT @ own @ factors).squeeze(1)

    def slope(self, found: tuple[Tensor, Tensor]) -> Tensor:
        """``[groups, size, outputs]``."""
        seen, factors = found
        parts = [some[:, seen].mT.double() @ factors for some in self.x.split(AT_ONCE, -1)]
        return torch.cat(parts, 1)

    def joined(self, others: Sequence[RowHalf]) -> RowHalf:
        """All rows together."""
        return replace(self, own=torch.cat([half.own for half in (self, *others)]))

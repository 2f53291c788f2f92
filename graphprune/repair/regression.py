"""Ridge regressions from streamed sums, with the ridge that predicts best what it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from graphprune.scoring.elimination import gram, regularised

__all__ = ["LOOKED_AT", "RIDGES", "Half", "RowSums", "fit"]

# of the mean variance of a regressor; the last ones are for exact copies, which float64 tells from rounding
RIDGES = (10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-6, 1e-8, 1e-10, 1e-13)
FIRST = 2  # the place of the one that is tried first
LOOKED_AT = 64  # outputs, at equal distances, by which the ridge is chosen where there are more


class RowSums(NamedTuple):
    """Sums over the rows of one or more regressions side by side, in float64.

    Args:
        rows: how many there are, each as often as it counts.
        x, r: the regressors ``[groups, size]`` and the targets ``[groups, outputs]``.
        xx, xr: products of regressors with each other, and with targets.
        rr: squares of the targets.
    """

    rows: Tensor
    x: Tensor
    r: Tensor
    xx: Tensor
    xr: Tensor
    rr: Tensor

    @classmethod
    def of(cls, regressors: Tensor, targets: Tensor, weights: Tensor) -> RowSums:
        """Of ``[groups, rows, size]``, ``[groups, rows, outputs]``, and how much each of the ``[rows]`` counts."""
        root = weights.double().sqrt().unsqueeze(-1)
        x, r = regressors.double() * root, targets.double() * root
        sums = ((x * root).sum(1), (r * root).sum(1), gram(x.mT), x.mT @ r, r.square().sum(1))
        return cls(weights.double().sum().cpu(), *(total.cpu() for total in sums))

    def centred(self, intercept: bool) -> RowSums:
        """With an intercept, the products with means taken off first."""
        if not intercept:
            return self
        mean = self.x / self.rows.clamp_min(1)
        return self._replace(
            xx=self.xx - mean.unsqueeze(-1) * self.x.unsqueeze(-2),
            xr=self.xr - mean.unsqueeze(-1) * self.r.unsqueeze(-2),
        )

    def sample(self) -> RowSums:
        """The same of at most `LOOKED_AT` to twice as many of the outputs."""
        every = max(self.r.shape[-1] // LOOKED_AT, 1)
        return self._replace(r=self.r[:, ::every], xr=self.xr[..., ::every], rr=self.rr[:, ::every])

    def error(self, slope: Tensor | None, shift: Tensor | float) -> float:
        """The sum of squares that ``slope`` ``[groups, size, outputs]`` and ``shift`` ``[groups, outputs]`` leave."""
        shift = torch.as_tensor(shift, dtype=torch.float64)
        left = self.rr.sum() - 2 * (shift * self.r).sum() + self.rows * shift.square().expand_as(self.r).sum()
        if slope is not None:
            predicted = torch.einsum("gso,gs->go", slope, self.x)
            left = left - 2 * (slope * self.xr).sum() + (slope * (self.xx @ slope)).sum()
            left = left + 2 * (shift * predicted).sum()
        return max(float(left), 0.0)

    @property
    def mean(self) -> Tensor:
        """Of the targets, ``[groups, outputs]``."""
        return self.r / self.rows.clamp_min(1)

    def solved(self, centred: RowSums, ridge: float, intercept: bool) -> tuple[Tensor, Tensor | float]:
        """Slope and shift, by what `centred` makes of these sums."""
        slope = torch.cholesky_solve(centred.xr, torch.linalg.cholesky(regularised(centred.xx, ridge)))
        if not intercept:
            return slope, 0.0
        mean = self.x / self.rows.clamp_min(1)
        return slope, self.mean - torch.einsum("gso,gs->go", slope, mean)

    def slope(self, found: Tensor) -> Tensor:
        """What was found is the slope."""
        return found

    def joined(self, others: Sequence[RowSums]) -> RowSums:
        """This one, to which the others are added."""
        for half in others:  # in place: the matrices are the largest things that a repair holds
            for own, other in zip(self, half, strict=True):
                own.add_(other)
        return self


@dataclass(frozen=True)
class _Fit:
    """A regression.

    Args:
        slope: ``[groups, size, outputs]``, None where none predicts better than no slope.
        shift: ``[groups, outputs]``.
        before: the squared targets, summed.
        after: what slope and shift leave of them, each half of the data predicted from the other.
        ridge: of `RIDGES`; 0 without a slope.
    """

    slope: Tensor | None
    shift: Tensor | float
    before: float
    after: float
    ridge: float


class Half(Protocol):
    """One half of the data of a regression. What `solved` finds says how to predict; `slope` makes a matrix of it."""

    @property
    def mean(self) -> Tensor: ...
    def error(self, found: Any, shift: Tensor | float) -> float: ...
    def sample(self) -> Any: ...
    def centred(self, intercept: bool) -> Any: ...
    def solved(self, centred: Any, ridge: float, intercept: bool) -> tuple[Any, Tensor | float]: ...
    def slope(self, found: Any) -> Tensor: ...
    def joined(self, others: Sequence[Any]) -> Any: ...


def fit(halves: Sequence[Half], intercept: bool, slopes: bool) -> _Fit:
    """The ridge regression of the targets that both halves together give.

    Whether there is to be a shift and a slope, and which ridge, is what predicts each half best from the other.

    Args:
        intercept: whether a shift may be taken.
        slopes: whether a slope may be.
    """
    pairs = list(zip(halves, reversed(halves), strict=True))
    before = sum(half.error(None, 0.0) for half in halves)
    shifted = sum(other.error(None, one.mean) for one, other in pairs) if intercept else before
    after, ridge = min(shifted, before), 0.0
    if slopes and before:
        centred = [half.centred(intercept) for half in halves]
        some = [half.sample() for half in halves], [part.sample() for part in centred]
        looked = cache(lambda place: _foretold(*some, RIDGES[place], intercept))
        best = RIDGES[_lowest(looked, FIRST, len(RIDGES))]
        foretold = _foretold(halves, centred, best, intercept)
        if foretold < after:
            after, ridge = foretold, best
        del centred, some  # the matrices are the largest things that a repair holds
    total: Half = halves[0].joined(halves[1:])
    if ridge:
        found, shift = total.solved(total.centred(intercept), ridge, intercept)
        return _Fit(total.slope(found), shift, before, after, ridge)
    return _Fit(None, total.mean if intercept and shifted < before else 0.0, before, after, 0.0)


def _lowest(error: Callable[[int], float], place: int, size: int) -> int:
    """Where an error that falls and then rises is lowest, from ``place`` on downhill."""
    for step in (1, -1):
        while 0 <= place + step < size and error(place + step) < error(place):
            place += step
    return place


def _foretold(halves: Sequence[Half], centred: Sequence[Half], ridge: float, intercept: bool) -> float:
    """The error of each half as the other foretells it."""
    try:
        fits = [half.solved(part, ridge, intercept) for half, part in zip(halves, centred, strict=True)]
    except RuntimeError:  # so small a ridge is lost in rounding
        return float("inf")
    return sum(half.error(*found) for half, found in zip(halves, reversed(fits), strict=True))

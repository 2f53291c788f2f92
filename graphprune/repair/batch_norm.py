"""Statistics of batch norms, estimated anew for what the slim model gives them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graphprune.capture.nodes import arguments
from graphprune.ground.processes import over_processes
from graphprune.repair.pair import Pair, Pairs
from graphprune.repair.report import StepReport
from graphprune.repair.steps import Step

__all__ = ["Estimate", "Moments", "Reestimate", "estimate"]


POSITIONS = 50_000  # of each channel, over all batches, that are looked at
PARTS = ("original", "slim", "original_square", "slim_square", "product")


@dataclass
class Moments:
    """Sums over examples and positions of each channel, ``[channels]`` in float64: of the original's input, the slim
    one's, their squares and their product."""

    count: int
    original: Tensor
    slim: Tensor
    original_square: Tensor
    slim_square: Tensor
    product: Tensor

    @classmethod
    def of(cls, original: Tensor, slim: Tensor) -> Moments:
        """Of two inputs ``[batch, channels, positions]``."""
        one, two = (value.transpose(0, 1).flatten(1).double() for value in (original, slim))
        sums = (one.sum(1), two.sum(1), one.square().sum(1), two.square().sum(1), (one * two).sum(1))
        return cls(one.shape[1], *(total.cpu() for total in sums))

    def add(self, other: Moments) -> None:
        """Adds more positions, in place."""
        self.count += other.count
        for name in PARTS:
            getattr(self, name).add_(getattr(other, name))

    def over_processes(self) -> Moments:
        """Added up over all processes."""
        count = torch.tensor(self.count, dtype=torch.float64)
        found = over_processes({"count": count, **{name: getattr(self, name) for name in PARTS}})
        return Moments(int(found["count"]), *(found[name] for name in PARTS))


@dataclass(frozen=True)
class Estimate:
    """New statistics ``[channels]``, the error of the normalised values before and after, and what they vary."""

    mean: Tensor
    variance: Tensor
    before: float
    after: float


def estimate(
    moments: Moments, kept: tuple[Tensor, Tensor], now: tuple[Tensor, Tensor], eps: float
) -> Estimate:
    """Statistics under which the slim model's normalised values have the mean and variance of the original's.

    A plain estimate would also change channels that nothing happened to, where the calibration data are not what the
    model was trained on. This one carries the original's deviation over: with running statistics m, v and data
    statistics (o, p) of the original and (s, q) of the slim model, variance + eps = (v + eps) q / p and
    mean = s - (o - m) sqrt(q / p). Where m = o and v = p, that is the plain estimate. A channel takes mean and
    variance, the mean alone, or nothing: what leaves the smallest squared error.

    Args:
        kept: mean and variance of the original, of the kept channels.
        now: those that the slim model has.
    """
    n = max(moments.count, 1)
    o, s = moments.original / n, moments.slim / n
    p, q = moments.original_square / n - o.square(), moments.slim_square / n - s.square()
    (m, v), (m_now, v_now) = ((mean.double().cpu(), var.double().cpu()) for mean, var in (kept, now))
    tiny = torch.finfo(torch.float64).eps * moments.original_square / n
    alive = (p > tiny) & (q > torch.finfo(torch.float64).eps * moments.slim_square / n)
    ratio = torch.where(alive, q.clamp_min(0) / p.clamp_min(1e-300), 1.0)
    choices = [
        (m_now, v_now),
        (s - (o - m) * ((v_now + eps) / (v + eps)).sqrt(), v_now),
        (s - (o - m) * ratio.sqrt(), (v + eps) * ratio - eps),
    ]
    errors = torch.stack([_error(moments, (m, v), choice, eps) for choice in choices])
    best = errors.argmin(0, keepdim=True)
    mean, variance = (
        torch.stack([choice[place] for choice in choices]).gather(0, best)[0] for place in (0, 1)
    )
    scale = float((p / (v + eps)).sum()) or 1.0
    return Estimate(mean, variance, float(errors[0].sum()) / scale, float(errors.amin(0).sum()) / scale)


def _error(moments: Moments, kept: tuple[Tensor, Tensor], given: tuple[Tensor, Tensor], eps: float) -> Tensor:
    """Mean squared difference of the normalised values, ``[channels]``."""
    n = max(moments.count, 1)
    a, c = (kept[1] + eps).rsqrt(), (given[1] + eps).clamp_min(1e-300).rsqrt()
    b, d = a * kept[0], c * given[0]  # a o - b against c s - d
    shift = d - b
    squares = a.square() * moments.original_square + c.square() * moments.slim_square
    mixed = -2 * a * c * moments.product + 2 * shift * (a * moments.original - c * moments.slim)
    return ((squares + mixed) / n + shift.square()).clamp_min(0)


@dataclass
class Reestimate:
    """One batch norm: sums over all batches, then an `estimate`."""

    step: Step
    pairs: Pairs
    values: int
    sums: Moments | None = None

    def moments(self, call: str) -> tuple[str, ...]:
        """The nodes at which it is to look."""
        return (call,)

    def look(self, moment: int, call: str, pair: Pair, number: int) -> None:
        """At the inputs, at some of the positions where there are many."""
        original, slim = (value.reshape(*value.shape[:2], -1) for value in pair.argument(call, "input"))
        every = max(self.values // slim.shape[1] // POSITIONS, 1)
        found = Moments.of(original[..., number % every :: every], slim[..., number % every :: every])
        if self.sums is None:
            self.sums = found
        else:
            self.sums.add(found)

    def solve(self) -> tuple[StepReport, dict[str, Tensor]]:
        """What came of it, and the tensors that change."""
        assert self.sums is not None
        names = (self.step.weight, self.step.variance)
        kept_mean, kept_variance = (self.pairs.cut(name) for name in names)
        mean, variance = (self.pairs.tensors[name] for name in names)
        eps = float(arguments(self.pairs.slim_nodes[self.step.calls[0]])["eps"])
        sums = self.sums.over_processes()
        found = estimate(sums, (kept_mean, kept_variance), (mean, variance), eps)
        better = found.after < found.before
        changed = {names[0]: found.mean.to(mean), names[1]: found.variance.to(variance)} if better else {}
        kind = "statistics" if better else "none"
        return StepReport(self.step.layer, kind, found.before, found.after, 0.0, sums.count), changed

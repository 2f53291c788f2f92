"""Statistics of batch norms, estimated anew for what the slim model gives them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from graphprune.calibration.sums import Sums
from graphprune.capture.operators import arguments
from graphprune.repair.report import StepReport
from graphprune.repair.steps import Step
from graphprune.repair.walk import Pair, Walk

__all__ = ["ChannelSums", "Reestimate", "estimate"]

POSITIONS = 50_000  # of each channel, over all batches, that are looked at


@dataclass(frozen=True)
class _Estimate:
    """New statistics ``[channels]``, the error of the normalised values before and after, and what they vary."""

    mean: Tensor
    variance: Tensor
    before: float
    after: float


Statistics = tuple[Tensor, Tensor]  # mean and variance, ``[channels]`` each


class ChannelSums(NamedTuple):
    """Sums over examples and positions, ``[channels]`` in float64: of what the batch norm reads in the original and in
    the slim model, of their squares, and of their product."""

    number: Tensor
    original: Tensor
    slim: Tensor
    original_square: Tensor
    slim_square: Tensor
    product: Tensor

    @classmethod
    def of(cls, original: Tensor, slim: Tensor) -> ChannelSums:
        """Of two inputs ``[batch, channels, positions]``."""
        one, two = (value.transpose(0, 1).flatten(1).double() for value in (original, slim))
        rows = (one, two, one.square(), two.square(), one * two)
        return cls(torch.tensor(float(one.shape[1])), *(each.sum(1).cpu() for each in rows))


def estimate(sums: ChannelSums, kept: Statistics, now: Statistics, eps: float) -> _Estimate:
    """Statistics under which the slim model's normalised values have the mean and variance of the original's.

    A plain estimate would also change channels that nothing happened to, where the calibration data are not what the
    model was trained on. This one carries the original's deviation over. Let (m, v) be the original's running mean and
    variance, (o, p) those of its input on the data, and (s, q) those of the slim model's input. Then variance + eps =
    (v + eps) q / p and mean = s - (o - m) sqrt(q / p). Where m = o and v = p, that is the plain estimate. A channel
    takes mean and variance, the mean alone, or nothing: whichever leaves the smallest squared error.

    Args:
        kept: mean and variance of the original, of the kept channels.
        now: those that the slim model has.
    """
    n = sums.number.clamp_min(1)
    o, s = sums.original / n, sums.slim / n
    squares, slim_squares = sums.original_square / n, sums.slim_square / n
    p, q = squares - o.square(), slim_squares - s.square()
    (m, v), (m_now, v_now) = ((mean.double().cpu(), var.double().cpu()) for mean, var in (kept, now))
    tiny = torch.finfo(torch.float64).eps
    alive = (p > tiny * squares) & (q > tiny * slim_squares)
    ratio = torch.where(alive, q.clamp_min(0) / p.clamp_min(1e-300), 1.0)
    choices = [
        (m_now, v_now),
        (s - (o - m) * ((v_now + eps) / (v + eps)).sqrt(), v_now),
        (s - (o - m) * ratio.sqrt(), (v + eps) * ratio - eps),
    ]
    errors = torch.stack([_error(sums, (m, v), choice, eps) for choice in choices])
    best = errors.argmin(0, keepdim=True)
    mean, variance = (torch.stack(each).gather(0, best)[0] for each in zip(*choices, strict=True))
    scale = float((p / (v + eps)).sum()) or 1.0
    return _Estimate(mean, variance, float(errors[0].sum()) / scale, float(errors.amin(0).sum()) / scale)


def _error(sums: ChannelSums, kept: Statistics, given: Statistics, eps: float) -> Tensor:
    """Mean squared difference of the normalised values, ``[channels]``."""
    n = sums.number.clamp_min(1)
    a, c = (kept[1] + eps).rsqrt(), (given[1] + eps).clamp_min(1e-300).rsqrt()
    b, d = a * kept[0], c * given[0]  # a o - b against c s - d
    shift = d - b
    squares = a.square() * sums.original_square + c.square() * sums.slim_square
    mixed = -2 * a * c * sums.product + 2 * shift * (a * sums.original - c * sums.slim)
    return ((squares + mixed) / n + shift.square()).clamp_min(0)


@dataclass
class Reestimate:
    """One batch norm: sums over all batches, then an `estimate`."""

    step: Step
    walk: Walk
    values: int
    sums: Sums[str, ChannelSums] = field(default_factory=Sums)

    def moments(self, call: str) -> tuple[str, ...]:
        """The nodes at which it is to look."""
        return (call,)

    def look(self, moment: int, call: str, pair: Pair, number: int) -> None:
        """At the inputs, at some of the positions where there are many."""
        original, slim = (value.reshape(*value.shape[:2], -1) for value in pair.argument(call, "input"))
        every = max(self.values // slim.shape[1] // POSITIONS, 1)
        seen = (value[..., number % every :: every] for value in (original, slim))
        self.sums.add("", ChannelSums.of(*seen))

    def solve(self) -> tuple[StepReport, dict[str, Tensor]]:
        """What came of it, and the tensors that change."""
        names = (self.step.weight, self.step.variance)
        kept_mean, kept_variance = (self.walk.cut(name) for name in names)
        mean, variance = (self.walk.tensors[name] for name in names)
        eps = float(arguments(self.walk.slim_nodes[self.step.calls[0]])["eps"])
        sums = self.sums.total()[""]
        found = estimate(sums, (kept_mean, kept_variance), (mean, variance), eps)
        better = found.after < found.before
        changed = {names[0]: found.mean.to(mean), names[1]: found.variance.to(variance)} if better else {}
        kind = "statistics" if better else "none"
        return StepReport(self.step.layer, kind, found.before, found.after, 0.0, int(sums.number)), changed

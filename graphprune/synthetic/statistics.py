"""What batch norms remember of the data that a model was trained on, and inputs that have these statistics.

The means and variances that batch norms keep say more about the training data than anything else in a model. Inputs
are moved, by gradient steps on the inputs, until activations have them (Yin et al., "Dreaming to Distill: Data-free
Knowledge Transfer via DeepInversion", 2020; Cai et al., "ZeroQ", 2020). The channels of an input are scaled, mixed and
shifted first, towards the norms nearest to it: that finds the range of its values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.capture.execution import Execution
from graphprune.capture.operators import arguments, family
from graphprune.capture.program import Program
from graphprune.capture.roles import ROLES

__all__ = ["Affine", "Norm", "find_norms", "fit_affine", "moved"]

FIRST = 3  # norms that say in which range an input's values are
SCALES, SHIFTS = [4.0**power for power in range(-2, 5)], (-2.0, -1.0, 0.0, 1.0, 2.0)
FIT_STEPS, FIT_RATE = 40, 0.05
RATE = 0.05  # of a step on the inputs, in deviations

Leaves = list[Any]


@dataclass(frozen=True)
class Norm:
    """A batch norm in eval mode: the value that it reads, and what it remembers of it ``[channels]``."""

    source: fx.Node
    mean: Tensor
    variance: Tensor
    eps: float

    def error(self, value: Tensor) -> Tensor:
        """How far the statistics of ``[batch, channels, ...]`` are from those of training, in deviations, squared."""
        dims = [dim for dim in range(value.dim()) if dim != 1]
        variance, mean = torch.var_mean(value, dims, correction=0)
        spread = self.variance + self.eps
        shift = (mean - self.mean).square() / spread
        scale = (((variance + self.eps) / spread).sqrt() - 1).square()
        return (shift + scale).mean()


def find_norms(program: Program) -> list[Norm]:
    """The batch norms with statistics of training, in the order of the graph."""
    found = []
    for node in program.graph.nodes:
        role = ROLES.get(family(node)) if node.op == "call_function" else None
        if role is None or role.kind != "batch norm":
            continue
        given = arguments(node)
        held = [program.tensors.get(str(getattr(given[name], "target", ""))) for name in role.statistics]
        if given.get("training") or any(item is None for item in held):
            continue
        mean, variance = (item.detach() for item in held)  # type: ignore[union-attr]
        found.append(Norm(given["input"], mean, variance, float(given["eps"])))
    fresh = all(bool((norm.mean == 0).all() and (norm.variance == 1).all()) for norm in found)
    return [] if fresh else found  # of a model that was never trained


def error(program: Program, leaves: Leaves, norms: Sequence[Norm]) -> Tensor:
    """The mean error of the norms; the program runs as far as the last of them."""
    by_source: dict[fx.Node, list[Norm]] = {}
    for norm in norms:
        by_source.setdefault(norm.source, []).append(norm)
    left, errors = set(by_source), []
    for node, value in Execution(program.graph, program.tensors, leaves):
        errors += [norm.error(value) for norm in by_source.get(node, ())]
        left.discard(node)
        if not left:
            break
    return torch.stack(errors).mean()


@dataclass(frozen=True)
class Affine:
    """The channels of one input mixed and shifted, then scaled: ``[channels, channels]`` and ``[channels]``."""

    mixing: Tensor
    shift: Tensor
    scale: float
    dim: int | None

    def __call__(self, values: Tensor) -> Tensor:
        if self.dim is None:
            return self.scale * (values * self.mixing[0, 0] + self.shift[0])
        last = values.movedim(self.dim, -1)
        return self.scale * (last @ self.mixing + self.shift).movedim(-1, self.dim)

    def moving(self) -> Affine:
        """The same, for steps of gradients."""
        mixing, shift = (tensor.clone().requires_grad_() for tensor in (self.mixing, self.shift))
        return replace(self, mixing=mixing, shift=shift)

    def detached(self) -> Affine:
        """The same, without gradients."""
        return replace(self, mixing=self.mixing.detach(), shift=self.shift.detach())


def fit_affine(
    program: Program, leaves: Leaves, channels: Sequence[tuple[int, int | None]], norms: Sequence[Norm]
) -> dict[int, Affine]:
    """Place of an input → how its channels come into the range that the first norms remember.

    Steps begin at the best of some scales and shifts: pixels may go up to 255.

    Args:
        channels: places of the inputs that are made, and their dimensions of channels.
    """

    def within(ranges: Mapping[int, Affine], first: int) -> Tensor:
        given = [ranges[place](leaf) if place in ranges else leaf for place, leaf in enumerate(leaves)]
        return error(program, given, norms[:first])

    def at(scale: float, shift: float) -> dict[int, Affine]:
        found = {}
        for place, dim in channels:
            one = torch.eye(leaves[place].shape[dim] if dim is not None else 1).to(leaves[place])
            found[place] = Affine(one, shift * one.sum(0), scale, dim)
        return found

    with torch.no_grad():
        starts = [at(scale, shift) for scale in SCALES for shift in SHIFTS]
        found = min(starts, key=lambda start: float(within(start, 1)))
    moved_on = {place: one.moving() for place, one in found.items()}
    tensors = [tensor for one in moved_on.values() for tensor in (one.mixing, one.shift)]
    _descend(tensors, FIT_RATE, FIT_STEPS, lambda: within(moved_on, FIRST))
    return {place: one.detached() for place, one in moved_on.items()}


def moved(
    program: Program, leaves: Leaves, places: Sequence[int], norms: Sequence[Norm], steps: int
) -> Leaves:
    """The leaves of one call, with those at ``places`` moved towards the statistics of all norms."""
    given = list(leaves)
    for place in places:
        given[place] = leaves[place].clone().requires_grad_()
    spread = max(float(leaves[place].std()) for place in places)
    _descend([given[place] for place in places], RATE * spread, steps, lambda: error(program, given, norms))
    return [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in given]


@torch.enable_grad()
def _descend(moving: list[Tensor], rate: float, steps: int, loss: Callable[[], Tensor]) -> None:
    optimiser = torch.optim.Adam(moving, lr=rate)
    for _ in range(steps):
        now = loss()
        if not now.requires_grad:  # the norms read nothing of the inputs
            return
        for tensor, gradient in zip(moving, torch.autograd.grad(now, moving, allow_unused=True), strict=True):
            tensor.grad = gradient
        optimiser.step()

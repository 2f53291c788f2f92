"""Training towards groups whose units are exactly zero, so that a lossless shrink removes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.axes.dependency import DependencyGraph, build_graph
from graphprune.axes.groups import Group
from graphprune.capture import capture
from graphprune.ground.errors import InputError
from graphprune.planning import Constraints, find_limits
from graphprune.scoring.units import unit_maps

__all__ = ["GroupLasso", "group_lasso"]

TINY = 1e-12  # is added under square roots, whose slope is infinite at zero


@dataclass(frozen=True)
class _Member:
    """One dimension of a parameter whose positions belong to units of a group.

    Args:
        units: the number of the unit at every position of ``dim``; the number of all units where it belongs to none.
    """

    parameter: nn.Parameter
    dim: int
    units: Tensor

    def counts(self) -> Tensor:
        """How many numbers there are at every position, ``[positions]``."""
        each = self.parameter.numel() // self.parameter.shape[self.dim]
        return torch.full_like(self.units, each, dtype=torch.float32)

    def squares(self) -> Tensor:
        """Sums of squares at every position, ``[positions]``."""
        others = [dim for dim in range(self.parameter.dim()) if dim != self.dim]
        squares = self.parameter.square()
        return squares.sum(others) if others else squares

    def scale(self, factors: Tensor) -> None:
        """Multiplies everything of each unit by its factor, in place; ``factors`` have the shape of the scores."""
        whole = torch.cat([factors.flatten(), factors.new_ones(1)])[self.units]  # the last is of no unit
        shape = [-1 if dim == self.dim else 1 for dim in range(self.parameter.dim())]
        self.parameter.mul_(whole.to(self.parameter.dtype).reshape(shape))


class GroupLasso:
    """A penalty that drives whole coupled units to zero; see `group_lasso`.

    Attributes:
        strengths: by group, the strength of every unit, in the shape of its scores.
    """

    def __init__(self, groups: Sequence[tuple[Group, list[_Member]]], strength: float, growth: float) -> None:
        self._groups = {group.name: (group, members) for group, members in groups}
        self._sizes = {group.name: _per_unit(group, members, _Member.counts) for group, members in groups}
        self.growth = strength * growth
        self.strengths = {
            group.name: torch.full(group.shape, strength, device=members[0].parameter.device)
            for group, members in groups
        }

    def __call__(self) -> Tensor:
        """The penalty, ``sum over units of strength * sqrt(parameters of the unit) * norm of the unit``: add it to
        the loss. Its gradient makes units small, and `threshold_` or `prox_` exactly zero."""
        terms = [
            (self.strengths[name] * self._sizes[name].sqrt() * (self._squares(name) + TINY).sqrt()).sum()
            for name in self._groups
        ]
        return torch.stack(terms).sum()

    def prox_(self, lr: float) -> None:
        """The proximal step of the penalty in place of its gradient: call it after ``optimizer.step()``.

        Every unit's norm falls by ``lr * strength * sqrt(parameters of the unit)``, and to exactly zero where it was
        less: block soft thresholding (Parikh and Boyd, "Proximal Algorithms", 2014). Where a weight belongs to two
        groups the steps follow each other.
        """
        with torch.no_grad():
            for name, (_, members) in self._groups.items():
                norms = (self._squares(name) + TINY).sqrt()
                fall = lr * self.strengths[name] * self._sizes[name].sqrt() / norms
                for member in members:
                    member.scale((1 - fall).clamp_min(0))

    def grow(self) -> None:
        """Raises the strength of weak units by up to ``growth`` times the first one: by all of it for the weakest of
        a group, and not at all for the strongest, so that a gap opens between them.

        Growing penalties: Wang et al., "Neural Pruning via Growing Regularization" (2021), who choose the units
        beforehand and grow a squared penalty on those; here the choice may change until a unit is zero.
        """
        for name, norms in self.norms().items():
            low, high = norms.min(), norms.max()
            self.strengths[name] += self.growth * (high - norms) / (high - low).clamp_min(TINY)

    def norms(self) -> dict[str, Tensor]:
        """By group, the root mean square of everything that belongs to each unit, in the shape of its scores."""
        with torch.no_grad():
            return {name: (self._squares(name) / self._sizes[name]).sqrt() for name in self._groups}

    def threshold_(self, share: float = 1e-3) -> dict[str, int]:
        """Sets units to zero whose `norms` are at most ``share`` of their group's largest; returns how many of each
        group are zero. The strongest unit of a group stays, since no axis can be empty."""
        found = {}
        with torch.no_grad():
            for name, norms in self.norms().items():
                dead = norms <= share * norms.amax(-1, keepdim=True)
                dead &= norms < norms.amax(-1, keepdim=True)
                for member in self._groups[name][1]:
                    member.scale((~dead).to(norms))
                found[name] = int(dead.sum())
        return found

    def _squares(self, name: str) -> Tensor:
        """Sums of squares of every unit, in the shape of the group's scores."""
        return _per_unit(*self._groups[name], _Member.squares)


def group_lasso(
    model: nn.Module | DependencyGraph,
    example_inputs: Any = None,
    *,
    strength: float = 1e-4,
    growth: float = 1.0,
    protect: Sequence[str] = (),
) -> GroupLasso:
    """A penalty on the coupled units of ``model``, for any training loop of your own::

        penalty = gp.group_lasso(model, example_inputs, strength=1e-3)
        for batch in loader:
            (loss(model, batch) + penalty()).backward()   # or without it, and penalty.prox_(lr) after the step
            optimizer.step()
        penalty.threshold_()
        result = gp.shrink(model, example_inputs, lossless=True)

    The group lasso (Yuan and Lin, "Model selection and estimation in regression with grouped variables", 2006), on
    structures of a network as in Wen et al., "Learning Structured Sparsity in Deep Neural Networks" (2016), where a
    structure is everything that a unit's removal would take: what produces it, carries it and consumes it in all
    coupled layers, as in Fang et al., "DepGraph: Towards Any Structural Pruning" (2023).

    Args:
        model: the model to train, or its graph from `trace`; its own parameters are penalised.
        example_inputs: as for `shrink`; not for a graph.
        strength: of all units at the beginning.
        growth: how much `GroupLasso.grow` adds, in multiples of ``strength``.
        protect: patterns of layer names that must not change.

    Raises:
        InputError: a number is out of range, there is nothing to train, or a weight is computed from others.
        CaptureError: the model cannot be captured.
    """
    if not strength > 0 or growth < 0:
        raise InputError(
            f"strength={strength:g} and growth={growth:g}", "give a positive strength, growth from 0"
        )
    graph = model if isinstance(model, DependencyGraph) else build_graph(capture(model, example_inputs))
    limits = find_limits(graph, Constraints(protect=tuple(protect)))
    free = [group for group in graph.groups if group.name in limits and limits[group.name].least < group.size]
    groups = [(group, list(_members(graph, group))) for group in free]
    groups = [(group, members) for group, members in groups if members]
    if not groups:
        raise InputError(
            "there are no units whose parameters can be trained", "loosen protect, or unfreeze layers"
        )
    return GroupLasso(groups, strength, growth)


def _members(graph: DependencyGraph, group: Group) -> Iterator[_Member]:
    model = graph.program.model
    own = dict(model.named_parameters()) if model is not None else {}
    for member in group.members:
        stored = graph.program.stored[member.tensor]
        if stored.kind != "parameter" or not stored.tensor.requires_grad:
            continue
        if not isinstance(stored.tensor, nn.Parameter) or (
            own and stored.tensor is not own.get(member.tensor)
        ):
            raise InputError(
                f"{member.tensor} is computed from other parameters",
                "remove the parametrisation for training with a penalty, or protect the layer",
            )
        for units in unit_maps(graph.tensor_terms[member.tensor][member.dim], group):
            units = torch.where(units < 0, prod(group.shape), units)
            yield _Member(stored.tensor, member.dim, units.to(stored.tensor.device))


def _per_unit(group: Group, members: Sequence[_Member], amounts: Callable[[_Member], Tensor]) -> Tensor:
    """Sums ``amounts`` of every member over the positions of each unit, in the shape of the group's scores."""
    values = [amounts(member) for member in members]
    total = values[0].new_zeros(prod(group.shape) + 1)
    for member, value in zip(members, values, strict=True):
        total = total.index_add(0, member.units, value.to(total.dtype))
    return total[:-1].reshape(group.shape)

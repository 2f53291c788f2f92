"""What a criterion measures of each member of a group, and how that becomes one score per unit, comparable between
groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.groups import Group, Member
from graphprune.calibration.batches import Calibration
from graphprune.capture.operations import Value
from graphprune.capture.roles import ROLES
from graphprune.scoring.sites import Site, find_sites
from graphprune.scoring.units import unit_maps

__all__ = ["AGGREGATES", "NORMALISERS", "Measure", "Part", "View", "lamp", "parameters_of"]


@dataclass(frozen=True)
class View:
    """What a measure sees.

    Args:
        graph: the dependency graph.
        tensors: stored tensors by name.
        seed: of everything random.
        collected: what `Measure.collect` returned.
    """

    graph: DependencyGraph
    tensors: Mapping[str, Tensor]
    seed: int
    collected: Any = None

    @cached_property
    def sites(self) -> Mapping[str, tuple[Site, ...]]:
        """See `find_sites`."""
        return find_sites(self.graph)

    @cached_property
    def all_sites(self) -> tuple[Site, ...]:
        """The sites of all groups, each once."""
        return tuple(dict.fromkeys(site for sites in self.sites.values() for site in sites))

    @cached_property
    def batch_norm_scales(self) -> frozenset[str]:
        """Names of the parameters that are the scale of a batch norm."""
        names = set()
        for operation in self.graph.program.operations:
            roles = ROLES.get(operation.family)
            weight = operation.arguments.get(roles.weight) if roles and roles.kind == "batch norm" else None
            if isinstance(weight, Value):
                names.add(self.graph.program.attributes.get(weight.name, ""))
        return frozenset(names)

    @cached_property
    def norms(self) -> Callable[[str, int, float], Tensor]:
        """``(tensor, dim, power)`` → the norm of every position along ``dim``, ``[size]``, float64.

        Each is taken once: the input of a convolution after a concatenation is read by many groups.
        """
        return cache(lambda tensor, dim, power: _norms(self.tensors[tensor].detach(), dim, power))


@dataclass(frozen=True)
class Part:
    """Scores of a group's units by one of its members, in the shape of the group's; ``role`` as in `Member`."""

    role: str
    scores: Tensor


@dataclass(frozen=True)
class Measure:
    """A row of the table of criteria.

    Args:
        score: gives, for each member of a group, a score of each unit; units with higher scores are kept. It gives
            nothing where the measure cannot judge the group, which then stays whole.
        about: one line for the user, with the source.
        collect: one pass over the calibration batches, before any group is scored.
        aggregate: a key of `AGGREGATES`.
        normalise: a key of `NORMALISERS`.
        power: of the aggregated score, so that it has the unit of a weight.
    """

    score: Callable[[View, Group], Iterable[Part]]
    about: str
    collect: Callable[[View, Calibration], Any] | None = None
    aggregate: str = "sum"
    normalise: str = "mean"
    power: float = 1.0


def _norms(weight: Tensor, dim: int, power: float) -> Tensor:
    weight = weight.float() if weight.dtype in (torch.float16, torch.bfloat16) else weight
    others = [other for other in range(weight.dim()) if other != dim]
    return (torch.linalg.vector_norm(weight, power, others) if others else weight.abs()).double().cpu()


def parameters_of(view: View, group: Group) -> Iterator[tuple[Member, Tensor]]:
    """Every parameter among the members, with the unit of each position, once for each time the group stands there."""
    for member in group.members:
        if view.graph.program.stored[member.tensor].kind == "parameter":
            for units in unit_maps(view.graph.tensor_terms[member.tensor][member.dim], group):
                yield member, units


def _stack(parts: Sequence[Part]) -> Tensor:
    return torch.stack([part.scores for part in parts])


def _first(parts: Sequence[Part]) -> Tensor:
    """The first member that produces the group, in the order of the graph."""
    return (_producers(parts) or list(parts))[0].scores


def _producers(parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if part.role == "produces"]


AGGREGATES: dict[str, Callable[[Sequence[Part]], Tensor]] = {
    "sum": lambda parts: _stack(parts).sum(0),
    "mean": lambda parts: _stack(parts).mean(0),
    "max": lambda parts: _stack(parts).amax(0),
    "prod": lambda parts: _stack(parts).prod(0),
    "first": _first,
    "producers": lambda parts: _stack(_producers(parts) or parts).sum(0),
}


def _divided(scores: Tensor, by: Tensor) -> Tensor:
    return torch.ones_like(scores) if bool(by == 0) else scores / by


def _standard(scores: Tensor) -> Tensor:
    deviation = scores.std(correction=0)
    return torch.zeros_like(scores) if bool(deviation == 0) else (scores - scores.mean()) / deviation


def lamp(scores: Tensor) -> Tensor:
    """Each score over the sum of all that are not smaller: Lee et al., "Layer-adaptive sparsity for the
    magnitude-based pruning" (2021). Equal scores are told apart by their order."""
    ordered, order = scores.flatten().sort(stable=True)
    rest = ordered.flip(0).cumsum(0).flip(0)
    share = torch.where(rest == 0, 1.0, ordered / rest)
    return torch.empty_like(ordered).scatter(0, order, share).reshape(scores.shape)


# over all units of one group
NORMALISERS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda scores: scores,
    "mean": lambda scores: _divided(scores, scores.mean()),
    "max": lambda scores: _divided(scores, scores.max()),
    "sum": lambda scores: _divided(scores, scores.sum()),
    "standard": _standard,
    "lamp": lamp,
}

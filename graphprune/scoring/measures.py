"""What a criterion measures: the protocol that all of them follow, and what they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
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
from graphprune.scoring.aggregation import Part
from graphprune.scoring.sites import Site, find_sites
from graphprune.scoring.units import unit_maps

__all__ = ["Measure", "View", "parameters_of"]


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

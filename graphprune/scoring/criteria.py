"""Importance criteria. A criterion gives every group one score per unit; higher is kept."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Protocol

import torch
from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.spread import Spread
from graphprune.axes.terms import atoms
from graphprune.errors import InputError

__all__ = ["CRITERIA", "Importance", "find_importance", "group_magnitude", "random_importance"]

Scores = dict[str, Tensor]


class Importance(Protocol):
    """A criterion.

    Called with the dependency graph, the model's tensors by name and a seed, it returns for each group
    ``[size]`` scores, or ``[fibre size, size]`` for a fibred group.
    """

    def __call__(
        self, graph: DependencyGraph, tensors: Mapping[str, Tensor], seed: int
    ) -> Mapping[str, Tensor]: ...


def group_magnitude(graph: DependencyGraph, tensors: Mapping[str, Tensor], power: int) -> Scores:
    """The Lp norm of everything that is removed together with a unit, over all members of its group.

    The magnitude criterion of Li et al., "Pruning Filters for Efficient ConvNets" (2017, section 3.1),
    summed over coupled members as in Fang et al., "DepGraph" (2023, equation 5).
    """
    sums = Spread(graph.fibres)
    wanted = {group.atom for group in graph.groups}
    for name, terms in graph.tensor_terms.items():
        free = [dim for dim, term in enumerate(terms) if any(atom in wanted for atom in atoms(term))]
        if free and graph.program.stored[name].kind == "parameter":
            powers = _powers(tensors[name].detach(), power, max(free))
            for dim in free:
                others = [other for other in range(powers.dim()) if other != dim]
                sums.add(terms[dim], (powers.sum(others) if others else powers).double().cpu(), wanted)
    return {group.name: sums.of(group.atom, group.fibre) ** (1 / power) for group in graph.groups}


def _powers(weight: Tensor, power: int, last: int) -> Tensor:
    """``|weight|^power``, with the dimensions after ``last`` (kernel positions) already summed."""
    if weight.dim() > last + 1:
        return torch.linalg.vector_norm(weight.flatten(last + 1), power, dim=-1) ** power
    return weight.abs() ** power


def random_importance(graph: DependencyGraph, tensors: Mapping[str, Tensor], seed: int) -> Scores:
    """Uniform random scores, the same for the same seed and model."""
    generator = torch.Generator().manual_seed(seed)
    scores: Scores = {}
    for group in graph.groups:
        shape = (group.size,) if group.fibre is None else (group.fibre.size, group.size)
        scores[group.name] = torch.rand(shape, generator=generator, dtype=torch.float64)
    return scores


CRITERIA: dict[str, Importance] = {
    "l1": lambda graph, tensors, seed: group_magnitude(graph, tensors, 1),
    "l2": lambda graph, tensors, seed: group_magnitude(graph, tensors, 2),
    "random": random_importance,
}


def find_importance(importance: str | Importance) -> Importance:
    """The criterion of that name, or the one given.

    Raises:
        InputError: no criterion has that name.
    """
    if not isinstance(importance, str):
        return importance
    if importance not in CRITERIA:
        near = get_close_matches(importance, CRITERIA, 1) or list(CRITERIA)
        raise InputError(f"unknown importance {importance!r}", f"use one of {', '.join(near)}")
    return CRITERIA[importance]

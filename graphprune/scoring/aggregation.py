"""From the scores of a group's members to one score per unit, comparable between groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["AGGREGATES", "NORMALISERS", "Part", "lamp"]


@dataclass(frozen=True)
class Part:
    """Scores of a group's units by one of its members, in the shape of the group's; ``role`` as in `Member`."""

    role: str
    scores: Tensor


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

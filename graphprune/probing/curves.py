"""What was measured of every group, and what follows from it: ratios, and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.groups import Group
from graphprune.ground.errors import InputError
from graphprune.planning.plan import fingerprint
from graphprune.probing.measuring import Point, Record
from graphprune.scoring import Importance

__all__ = ["Sensitivity", "slopes"]

Corner = tuple[float, float]


@dataclass(frozen=True)
class Sensitivity:
    """How much the output suffers when single groups are pruned. It is an importance, too.

    As ``importance=`` of `graphprune.shrink` it keeps the order of units within each group that it was measured with,
    and makes groups comparable: a unit's score is what its removal adds to the measured harm, along the convex hull of
    the group's curve. With ``ranking="per_cost"`` the budget then goes where it harms least for its cost, as long as
    the harms of groups add up. Of a relative distance its square is taken, since errors add up in squares.

    Args:
        distance: "l2", "kl", or "evaluate"; see `graphprune.sensitivity`.
        points: what was measured.
        baseline: what the evaluation function gave for the model itself; 0 for a distance.
        model: a fingerprint of the graph it was measured on.
        importance: what orders the units of a group.
    """

    distance: str
    points: tuple[Point, ...]
    baseline: float
    model: str
    importance: Importance = field(repr=False)

    def __repr__(self) -> str:
        return f"Sensitivity({self.distance}, groups={len(self.curves)}, points={len(self.points)})"

    @property
    def curves(self) -> dict[str, tuple[Point, ...]]:
        """Points by group, fewest removed first."""
        found: dict[str, list[Point]] = {}
        for point in self.points:
            found.setdefault(point.group, []).append(point)
        return {name: tuple(sorted(points, key=lambda p: p.removed)) for name, points in found.items()}

    def harm(self, point: Point) -> float:
        """A distance, or by how much the evaluation function's figure has fallen; 0 or more."""
        return max(self.baseline - point.value if self.distance == "evaluate" else point.value, 0.0)

    def ratios(self, max_distance: float) -> dict[str, float]:
        """For each group the largest share of units at which its own harm stays within ``max_distance``.

        Between two measured points a straight line is drawn; beyond the last one nothing is promised. Give it to
        ``shrink(..., ratios=)``: harms of several groups add up, so the whole model's is larger.

        Raises:
            InputError: ``max_distance`` is negative.
        """
        if max_distance < 0:
            raise InputError(f"max_distance={max_distance} is negative", "give 0 or more")
        return {name: self._ratio(points, max_distance) for name, points in self.curves.items()}

    def _ratio(self, points: tuple[Point, ...], limit: float) -> float:
        corners = [(0.0, 0.0), *((point.removed / point.size, self.harm(point)) for point in points)]
        for (share, harm), (next_share, next_harm) in pairwise(corners):
            if next_harm > limit:
                part = (limit - harm) / (next_harm - harm) if next_harm > harm else 0.0
                return share + (next_share - share) * max(part, 0.0)
        return corners[-1][0]

    def __call__(
        self, graph: DependencyGraph, tensors: Mapping[str, Tensor], seed: int
    ) -> dict[str, Tensor | None]:
        """Scores of every group, float64; None for a group that was not measured.

        Raises:
            InputError: it was measured on another model.
        """
        if self.model != fingerprint(graph):
            raise InputError(
                "the sensitivity was measured on another model", "measure it on this one, and in one round"
            )
        scores, curves = self.importance(graph, tensors, seed), self.curves
        return {
            group.name: self._scores(group, scores[group.name], curves.get(group.name, ()))
            for group in graph.groups
        }

    def _scores(self, group: Group, score: Tensor | None, points: tuple[Point, ...]) -> Tensor | None:
        if score is None or not points:
            return None
        power = 2 if self.distance == "l2" else 1
        corners = [(point.removed, self.harm(point) ** power) for point in points]
        places = _places(score.double().cpu())
        # units of one slope keep their order
        return slopes(corners, group.size)[places] * (1 + 1e-6 * places / group.size) + 1e-12 * places

    @classmethod
    def load(cls, path: str | Path, importance: Importance) -> Sensitivity:
        """What `graphprune.sensitivity` has written, with the importance that it was measured with.

        Raises:
            InputError: there is no such file, or it is no finished measurement.
        """
        record = Record.read(Path(path))
        head: Mapping[str, Any] = record.head
        return cls(head["distance"], tuple(record.points), head["baseline"], head["model"], importance)


def _places(scores: Tensor) -> Tensor:
    """The place of each score among those of its row."""
    return scores.argsort(dim=-1, stable=True).argsort(dim=-1, stable=True)


def slopes(corners: Sequence[Corner], size: int) -> Tensor:
    """What each removal adds along the lower convex hull through (0, 0), ``[size]``; the last slope goes on.

    >>> slopes([(1, 0.0), (3, 4.0)], 4).tolist()
    [0.0, 2.0, 2.0, 2.0]
    """
    hull: list[Corner] = [(0.0, 0.0)]
    for corner in corners:
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], corner):
            hull.pop()
        hull.append(corner)
    found = torch.zeros(size, dtype=torch.float64)
    for one, other in pairwise(hull):
        found[int(one[0]) :] = max(_slope(one, other), 0.0)
    return found


def _slope(one: Corner, other: Corner) -> float:
    return (other[1] - one[1]) / (other[0] - one[0])

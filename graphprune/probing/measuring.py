"""Measures how the outputs change when each group alone loses some of its units: nothing is traced again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.program import Program
from graphprune.cutting.cut import cut
from graphprune.ground.errors import InputError
from graphprune.planning import make_plan
from graphprune.probing.curves import Point
from graphprune.probing.record import Record

__all__ = ["RATIOS", "Watch", "measured"]

RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)
Watch = Callable[[int, int], None]


def measured(
    graph: DependencyGraph,
    scores: Mapping[str, Tensor | None],
    ratios: Sequence[float],
    measure: Callable[[Program], float],
    record: Record,
    watch: Watch,
) -> tuple[Point, ...]:
    """What is measured where each group alone loses each share of its units; ``record`` takes it point by point.

    Args:
        scores: of the units of every group; those with the smallest go first.
        measure: a slim program → a figure.
        record: points that it holds already are not measured again.
        watch: called with the number of points that are done, and of all.

    Raises:
        InputError: no group has scores.
    """
    wanted = list(_wanted(graph, scores, ratios))
    if not wanted:
        raise InputError("there is nothing to measure: no group can be judged", "use another importance")
    known = {(row["group"], row["removed"]) for row in record.rows}
    for done, (name, removed) in enumerate(wanted):
        watch(done, len(wanted))
        if (name, removed) not in known:
            size, score = graph.by_name[name].size, scores[name]
            assert score is not None
            kept = score.cpu().argsort(dim=-1, descending=True, stable=True)[..., : size - removed]
            slim = cut(graph, make_plan(graph, {name: kept})).slim
            record.add(asdict(Point(name, size, removed, measure(slim))))
    watch(len(wanted), len(wanted))
    found = {(row["group"], row["removed"]): Point(**row) for row in record.rows}
    return tuple(found[key] for key in wanted)


def _wanted(
    graph: DependencyGraph, scores: Mapping[str, Tensor | None], ratios: Sequence[float]
) -> Iterator[tuple[str, int]]:
    """Every group with the numbers of its units to remove; small groups have fewer of them."""
    for group in graph.groups:
        if scores[group.name] is not None:
            counts = (min(round(group.size * ratio), group.size - 1) for ratio in ratios)
            yield from ((group.name, count) for count in sorted(set(counts)) if count)

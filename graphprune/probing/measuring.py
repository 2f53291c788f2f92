"""Measures how the outputs change when each group alone loses some of its units: nothing is traced again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.calibration import Evaluate
from graphprune.calibration.distances import Distance
from graphprune.cutting.harm import Figure
from graphprune.ground.digest import digest
from graphprune.ground.errors import InputError
from graphprune.ground.processes import from_first, is_first
from graphprune.planning import make_plan
from graphprune.planning.plan import fingerprint
from graphprune.probing.curves import Point, Sensitivity
from graphprune.probing.record import Record
from graphprune.rewriting import rewrite
from graphprune.scoring import Importance

__all__ = ["RATIOS", "Watch", "probe"]

RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)
Watch = Callable[[int, int], None]


def probe(
    graph: DependencyGraph,
    importance: Importance,
    calibration: Any = None,
    evaluate: Evaluate | None = None,
    ratios: Sequence[float] = RATIOS,
    distance: str = "l2",
    path: Path | None = None,
    watch: Watch = lambda done, total: None,
    seed: int = 0,
) -> Sensitivity:
    """See `graphprune.sensitivity`, of a graph that is known."""
    measure = Distance(graph.program, calibration, distance) if evaluate is None else Figure(graph, evaluate)
    scores = importance(graph, graph.program.tensors, seed)
    wanted = list(_wanted(graph, scores, ratios))
    if not wanted:
        raise InputError("there is nothing to measure: no group can be judged", "use another importance")
    head: dict[str, Any] = {
        "model": fingerprint(graph),
        "weights": digest(graph.program.tensors)[:16],
        "importance": str(importance) if type(importance).__str__ is not object.__str__ else "",
        "seed": seed,
        **measure.head,
    }
    # one process reads and writes the file; what it holds already is measured by none
    rows = from_first(lambda: Record.open(path, head).rows)
    record = Record(head, rows, path if is_first() else None)
    known = {(row["group"], row["removed"]) for row in record.rows}
    for done, (name, removed) in enumerate(wanted):
        watch(done, len(wanted))
        if (name, removed) not in known:
            size, score = graph.by_name[name].size, scores[name]
            assert score is not None
            kept = score.cpu().argsort(dim=-1, descending=True, stable=True)[..., : size - removed]
            slim = rewrite(graph, make_plan(graph, {name: kept}))
            record.add(asdict(Point(name, size, removed, measure(slim))))
    watch(len(wanted), len(wanted))
    asked = {(row["group"], row["removed"]): Point(**row) for row in record.rows}
    points = tuple(asked[key] for key in wanted)
    return Sensitivity(head["distance"], points, head["baseline"], head["model"], importance)


def _wanted(
    graph: DependencyGraph, scores: Mapping[str, Tensor | None], ratios: Sequence[float]
) -> Iterator[tuple[str, int]]:
    """Every group with the numbers of its units to remove; small groups have fewer of them."""
    for group in graph.groups:
        if scores[group.name] is not None:
            counts = (min(round(group.size * ratio), group.size - 1) for ratio in ratios)
            yield from ((group.name, count) for count in sorted(set(counts)) if count)

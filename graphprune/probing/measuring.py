"""Measures how the outputs change when each group alone loses some of its units: nothing is traced again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.program import Program
from graphprune.ground.digest import digest
from graphprune.ground.errors import InputError
from graphprune.ground.processes import from_first, is_first
from graphprune.planning import make_plan
from graphprune.planning.plan import fingerprint
from graphprune.probing.curves import Point, Sensitivity
from graphprune.probing.record import Record
from graphprune.rewriting import rewrite
from graphprune.scoring import Importance

__all__ = ["RATIOS", "Course", "Watch", "probe"]

RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)
Watch = Callable[[int, int], None]


class Measure(Protocol):
    """What is measured of a slim program."""

    @property
    def head(self) -> Mapping[str, Any]:
        """What it is, and what it comes to for the model itself."""

    def __call__(self, slim: Program) -> float: ...


@dataclass(frozen=True)
class Course:
    """How the measurement goes.

    Args:
        path: a file that keeps the points, so that a run which was killed goes on; None keeps none.
        watch: called with the number of points measured so far, and of all.
        seed: of the importance.
    """

    path: Path | None = None
    watch: Watch = lambda done, total: None
    seed: int = 0


def probe(
    graph: DependencyGraph,
    importance: Importance,
    measure: Measure,
    ratios: Sequence[float] = RATIOS,
    course: Course = Course(),
) -> Sensitivity:
    """See `graphprune.sensitivity`, of a graph that is known."""
    scores = importance(graph, graph.program.tensors, course.seed)
    wanted = list(_wanted(graph, scores, ratios))
    if not wanted:
        raise InputError("there is nothing to measure: no group can be judged", "use another importance")
    head: dict[str, Any] = {
        "model": fingerprint(graph),
        "weights": digest(graph.program.tensors)[:16],
        "importance": str(importance) if type(importance).__str__ is not object.__str__ else "",
        "seed": course.seed,
        **measure.head,
    }
    # one process reads and writes the file; what it holds already is measured by none
    rows = from_first(lambda: Record.open(course.path, head).rows)
    record = Record(head, rows, course.path if is_first() else None)
    known = {(row["group"], row["removed"]) for row in record.rows}
    for done, (name, removed) in enumerate(wanted):
        course.watch(done, len(wanted))
        if (name, removed) not in known:
            size, score = graph.by_name[name].size, scores[name]
            assert score is not None
            kept = score.cpu().argsort(dim=-1, descending=True, stable=True)[..., : size - removed]
            slim = rewrite(graph, make_plan(graph, {name: kept}))
            record.add(asdict(Point(name, size, removed, measure(slim))))
    course.watch(len(wanted), len(wanted))
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

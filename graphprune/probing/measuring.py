"""Measures how the outputs change when each group alone loses some of its units: nothing is traced again.

On disk a measurement is a header and one line for each point, so that a run that was killed goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.program import Program
from graphprune.cutting.cut import cut
from graphprune.ground.documents import parse_json, read_text
from graphprune.ground.errors import InputError
from graphprune.ground.files import writing, written_aside
from graphprune.planning import make_plan

__all__ = ["RATIOS", "Point", "Record", "Watch", "measured"]

RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)
Watch = Callable[[int, int], None]
FORMAT = 1


@dataclass(frozen=True)
class Point:
    """``removed`` of the ``size`` units of ``group`` alone are gone, the least important first.

    ``value`` is the distance to the model's own outputs, or what the evaluation function gave.
    """

    group: str
    size: int
    removed: int
    value: float


@dataclass
class Record:
    """JSON lines at ``path``, or in memory alone. ``head`` says what is measured; ``points`` are those so far."""

    head: dict[str, Any]
    points: list[Point] = field(default_factory=list)
    path: Path | None = None

    @classmethod
    def read(cls, path: Path) -> Record:
        """A file as it is; a last line that was cut off is left out.

        Raises:
            InputError: there is none, or it is something else.
        """
        try:
            lines = read_text(path).split("\n")
        except InputError as error:
            raise _unreadable(path, error.message) from error
        try:
            whole = [parse_json(line) for line in lines[:-1]]
            head, points = whole[0], [Point(**row) for row in whole[1:]]
            if head["format"] != FORMAT or not all(point.removed for point in points):
                raise ValueError(f"format {head['format']}")
        except (InputError, ValueError, KeyError, TypeError, IndexError) as error:
            raise _unreadable(path, "it is no measurement of graphprune's") from error
        return cls(head, points, path)

    @classmethod
    def open(cls, path: Path | None, head: Mapping[str, Any]) -> Record:
        """A new record, or the one at ``path`` to go on with.

        Raises:
            InputError: what is there measures something else, or the file cannot be written.
        """
        head = {"format": FORMAT, **head}
        record = cls(head, path=path)
        if path is None:
            return record
        if path.exists():
            record = cls.read(path)
            if different := [key for key in head if record.head.get(key) != head[key]]:
                raise InputError(
                    f"{path} measures something else: its {', '.join(different)} differs",
                    "name another file, or remove it to measure anew",
                )
        with writing(path), written_aside(path) as draft:  # without what was cut off
            draft.write_text(_lines(head, *map(asdict, record.points)), encoding="utf-8")
        return record

    def add(self, point: Point) -> None:
        """One more; it is on disk when this returns."""
        self.points.append(point)
        if self.path is not None:
            with writing(self.path), self.path.open("a", encoding="utf-8") as file:
                file.write(_lines(asdict(point)))


def _lines(*rows: Mapping[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


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
    known = {(point.group, point.removed) for point in record.points}
    for done, (name, removed) in enumerate(wanted):
        watch(done, len(wanted))
        if (name, removed) not in known:
            size, score = graph.by_name[name].size, scores[name]
            assert score is not None
            kept = score.cpu().argsort(dim=-1, descending=True, stable=True)[..., : size - removed]
            slim = cut(graph, make_plan(graph, {name: kept})).slim
            record.add(Point(name, size, removed, measure(slim)))
    watch(len(wanted), len(wanted))
    found = {(point.group, point.removed): point for point in record.points}
    return tuple(found[key] for key in wanted)


def _wanted(
    graph: DependencyGraph, scores: Mapping[str, Tensor | None], ratios: Sequence[float]
) -> Iterator[tuple[str, int]]:
    """Every group with the numbers of its units to remove; small groups have fewer of them."""
    for group in graph.groups:
        if scores[group.name] is not None:
            counts = (min(round(group.size * ratio), group.size - 1) for ratio in ratios)
            yield from ((group.name, count) for count in sorted(set(counts)) if count)


def _unreadable(path: Path, why: str) -> InputError:
    return InputError(f"the sensitivity {path} cannot be read: {why}", "name another file")

"""Measures how the outputs change when each group alone loses some of its units: nothing is traced again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture import run
from graphprune.capture.program import Program
from graphprune.capture.raising import raise_program
from graphprune.errors import InputError
from graphprune.exporting import digest
from graphprune.planning import make_plan
from graphprune.planning.plan import fingerprint
from graphprune.probing.curves import Point, Sensitivity
from graphprune.probing.record import Record
from graphprune.processes import from_all, from_first, is_first, over_processes
from graphprune.rewriting import rewrite
from graphprune.scoring import Calibration, Importance

__all__ = ["DISTANCES", "RATIOS", "Evaluate", "Watch", "distance_of", "harm_of", "probe"]

RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)
Evaluate = Callable[[nn.Module], Any]
Watch = Callable[[int, int], None]
Outputs = list[Tensor]


@dataclass
class _L2:
    """``|y' - y| / |y|`` over all outputs of all examples."""

    change: float = 0.0
    whole: float = 0.0

    def add(self, slim: Outputs, own: Outputs) -> None:
        for one, other in zip(slim, own, strict=True):
            self.change += float((one.double() - other.double()).square().sum())
            self.whole += float(other.double().square().sum())

    @property
    def value(self) -> float:
        change, whole = _over_processes(self.change, self.whole)
        return float((change / (whole or 1.0)) ** 0.5)


@dataclass
class _KL:
    """The mean divergence of ``softmax(y')`` from ``softmax(y)``, in nats, over the last dimension of every output."""

    total: float = 0.0
    rows: int = 0

    def add(self, slim: Outputs, own: Outputs) -> None:
        for one, other in zip(slim, own, strict=True):
            p, q = other.double().log_softmax(-1), one.double().log_softmax(-1)
            divergences = (p.exp() * (p - q)).sum(-1)
            self.total += float(divergences.sum())
            self.rows += divergences.numel()

    @property
    def value(self) -> float:
        total, rows = _over_processes(self.total, self.rows)
        return total / max(rows, 1)


def _over_processes(*numbers: float) -> list[float]:
    sums = {place: torch.tensor(float(number), dtype=torch.float64) for place, number in enumerate(numbers)}
    return [float(total) for total in over_processes(sums).values()]


DISTANCES: Mapping[str, Callable[[], _L2 | _KL]] = {"l2": _L2, "kl": _KL}


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
    measure = _Outputs(graph, calibration, distance) if evaluate is None else _Evaluated(graph, evaluate)
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


def distance_of(graph: DependencyGraph, calibration: Any, distance: str = "l2") -> Callable[[Program], float]:
    """A slim program → how far its outputs are from the original's, by a key of `DISTANCES`."""
    return _Outputs(graph, calibration, distance)


def harm_of(
    graph: DependencyGraph, calibration: Any, evaluate: Evaluate | None = None
) -> Callable[[Mapping[str, Tensor]], float]:
    """Kept units of the groups → the slim model's distance, or less what ``evaluate`` gives for it: less is better."""
    if evaluate is None:
        distance = distance_of(graph, calibration)
        return lambda kept: distance(rewrite(graph, make_plan(graph, kept)))
    evaluated = _Evaluated(graph, evaluate)
    return lambda kept: -evaluated(rewrite(graph, make_plan(graph, kept)))


def _wanted(
    graph: DependencyGraph, scores: Mapping[str, Tensor | None], ratios: Sequence[float]
) -> Iterator[tuple[str, int]]:
    """Every group with the numbers of its units to remove; small groups have fewer of them."""
    for group in graph.groups:
        if scores[group.name] is not None:
            counts = (min(round(group.size * ratio), group.size - 1) for ratio in ratios)
            yield from ((group.name, count) for count in sorted(set(counts)) if count)


class _Outputs:
    """The distance to the model's own outputs, which are held, on every calibration batch of all processes."""

    def __init__(self, graph: DependencyGraph, calibration: Any, distance: str) -> None:
        program = graph.program
        given = [program.example] if calibration is None else calibration
        self.batches = [leaves for _, leaves in Calibration(given).walk(program)]
        self.distance = DISTANCES[distance]
        self.own = [self._outputs(program, leaves) for leaves in self.batches]
        if not any(self.own):
            raise InputError("no output of the model is floating", "give evaluate=, a function of the model")
        tensors = {
            f"{place} {index}": leaf
            for place, leaves in enumerate(self.batches)
            for index, leaf in enumerate(leaves)
            if isinstance(leaf, Tensor)
        }
        self.head = {"distance": distance, "baseline": 0.0, "data": " ".join(from_all(digest(tensors)[:16]))}

    def __call__(self, slim: Program) -> float:
        distance = self.distance()
        for leaves, own in zip(self.batches, self.own, strict=True):
            distance.add(self._outputs(slim, leaves), own)
        return distance.value

    @staticmethod
    def _outputs(program: Program, leaves: list[Any]) -> Outputs:
        with torch.no_grad():
            found = run(program.graph, program.tensors, leaves)
        return [leaf for leaf in found if isinstance(leaf, Tensor) and leaf.is_floating_point()]


class _Evaluated:
    """What a function of the model gives in the first process."""

    def __init__(self, graph: DependencyGraph, evaluate: Evaluate) -> None:
        self.evaluate = evaluate
        self.head = {"distance": "evaluate", "baseline": self(graph.program)}

    def __call__(self, slim: Program) -> float:
        return from_first(lambda: self._figure(slim))

    def _figure(self, slim: Program) -> float:
        found = self.evaluate(raise_program(slim))
        figure = next(iter(found.values()), None) if isinstance(found, Mapping) else found
        try:
            return float(figure)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise InputError(
                f"evaluate returns {type(found).__name__}, not a number",
                "return a number, or a dict whose first value is one; higher is better",
            ) from error

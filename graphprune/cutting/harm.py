"""What a plan costs the outputs: a distance on calibration data, or what a function of the slim model says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.calibration import Distance, Evaluate
from graphprune.capture.program import Program
from graphprune.capture.raising import raise_program
from graphprune.cutting.cut import cut
from graphprune.ground.errors import InputError
from graphprune.ground.processes import from_first
from graphprune.planning import make_plan

__all__ = ["Figure", "harm_of"]


def harm_of(
    graph: DependencyGraph, calibration: Any, evaluate: Evaluate | None = None
) -> Callable[[Mapping[str, Tensor]], float]:
    """Kept units of the groups → the slim model's distance, or less what ``evaluate`` gives for it: less is better."""
    if evaluate is None:
        distance = Distance(graph.program, calibration)
        return lambda kept: distance(cut(graph, make_plan(graph, kept)).slim)
    evaluated = Figure(graph, evaluate)
    return lambda kept: -evaluated(cut(graph, make_plan(graph, kept)).slim)


class Figure:
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

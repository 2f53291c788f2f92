"""What a report says of the original, and of both models' own evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphprune.axes.dependency import DependencyGraph
from graphprune.cli.examples import describe_inputs
from graphprune.cli.models import Source
from graphprune.ground.digest import digest

__all__ = ["Figures", "recorded"]


class Figures:
    """What the model's own evaluation says before and after; a failure there is a note, not an error."""

    def __init__(self, evaluate: Callable[[Any], Any] | None) -> None:
        self.evaluate = evaluate
        self.wanted = evaluate is not None
        self.found: dict[str, Mapping[str, float]] = {}
        self.notes: list[str] = []

    def add(self, when: str, model: Any) -> None:
        assert self.evaluate is not None
        try:
            found = self.evaluate(model)
            self.found[when] = found if isinstance(found, Mapping) else {"metric": float(found)}
        except Exception as error:  # a fixed input shape, a missing package, anything the data asks for
            self.wanted = False
            self.found = {}
            self.notes.append(f"not evaluated: {' '.join(str(error).split())[:200]}")

    @property
    def extra(self) -> dict[str, Any]:
        return {"evaluation": self.found} if self.found else {}


def recorded(
    source: Source, graph: DependencyGraph, notes: Sequence[str], command: str = ""
) -> dict[str, Any]:
    """What `graphprune verify` needs to make the original again, and the command that made the result."""
    return {
        "model": source.spec,
        **({"command": command} if command else {}),
        "weights": source.weights,
        "seed": source.seed,
        "input_shapes": [list(shape) for shape in source.shapes],
        "inputs": describe_inputs(source.inputs),
        "digest": digest(graph.program.tensors),
        "notes": [*source.notes, *notes],
    }

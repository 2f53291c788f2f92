"""How far a slim model's outputs are from the original's, on every calibration batch of all processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphprune.calibration.batches import Calibration
from graphprune.capture import run
from graphprune.capture.program import Program
from graphprune.ground.digest import digest
from graphprune.ground.errors import InputError
from graphprune.ground.processes import from_all, over_processes

__all__ = ["DISTANCES", "Distance"]

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


class Distance:
    """The distance to the model's own outputs, which are held, on every calibration batch of all processes."""

    def __init__(self, program: Program, calibration: Any = None, distance: str = "l2") -> None:
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

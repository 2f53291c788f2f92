"""How far a slim model's outputs are from the original's: one measure for repairs, sensitivities and "auto"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from graphprune.calibration.batches import Calibration
from graphprune.calibration.sums import Sums
from graphprune.capture import run, tensor_leaves
from graphprune.capture.program import Program
from graphprune.ground.digest import digest
from graphprune.ground.errors import InputError
from graphprune.ground.processes import from_all

__all__ = ["DISTANCES", "Difference", "Distance"]


def _squares(own: Tensor, slim: Tensor) -> tuple[Tensor, Tensor]:
    """Of an output: the squares of its change, and of itself."""
    return (own - slim).square().sum(), own.square().sum()


def _divergence(own: Tensor, slim: Tensor) -> tuple[Tensor, Tensor]:
    """The divergence of ``softmax(slim)`` from ``softmax(own)`` over the last dimension, in nats, and the rows."""
    p, q = own.log_softmax(-1), slim.log_softmax(-1)
    divergences = (p.exp() * (p - q)).sum(-1)
    return divergences.sum(), torch.tensor(divergences.numel())


# name → what each batch of an output adds to a numerator and to a denominator, and the power of their ratio
DISTANCES: Mapping[str, tuple[Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], float]] = {
    "l2": (_squares, 0.5),
    "kl": (_divergence, 1.0),
}


# changes whenever the same outputs would give another figure, so that figures of two definitions are never mixed.
# 2: each output's own ratio, averaged; 1 (unwritten) pooled the squares of all outputs
DEFINITION = 2


class Difference:
    """The difference of two models' outputs, summed up over batches and over all processes.

    Each output gives a ratio: for "l2" ``|slim - own|² / |own|²`` over all of its examples, for "kl" the mean
    divergence of its rows. The ratios are averaged over the outputs, so that each counts alike: were the squares of all
    outputs pooled, logits around 10 would drown box offsets around 0.1. An output of zeros has no scale of its own;
    its squared change counts as it is.

    >>> difference = Difference("l2")
    >>> difference.add(own=[torch.tensor([100.0]), torch.tensor([1.0])], slim=[torch.tensor([90.0]), torch.zeros(1)])
    >>> round(difference.mean_ratio, 3)  # the mean of 0.01 and 1
    0.505
    """

    def __init__(self, distance: str = "l2") -> None:
        self.measure, self.power = DISTANCES[distance]
        self.sums: Sums[int, Tensor] = Sums()

    def add(self, own: Any, slim: Any) -> None:
        """One batch: what each model returns. Outputs that are not floating are left out."""
        for place, pair in enumerate(zip(_floating(own), _floating(slim), strict=True)):
            self.sums.add(place, torch.stack(self.measure(*(output.double() for output in pair))))

    @property
    def mean_ratio(self) -> float:
        """Over the outputs; for "l2" a squared relative error."""
        ratios = [change / (whole or 1.0) for change, whole in map(Tensor.tolist, self.sums.total().values())]
        return sum(ratios) / max(len(ratios), 1)

    @property
    def value(self) -> float:
        """The distance: for "l2" the root of the mean ratio."""
        return float(self.mean_ratio**self.power)


class Distance:
    """The distance of a slim program to the model's own outputs, which are held, on all calibration batches."""

    def __init__(self, program: Program, calibration: Any = None, distance: str = "l2") -> None:
        given = [program.example] if calibration is None else calibration
        self.batches = [leaves for _, leaves in Calibration(given).walk(program)]
        self.distance = distance
        self.own = [self._outputs(program, leaves) for leaves in self.batches]
        if not any(self.own):
            raise InputError("no output of the model is floating", "give evaluate=, a function of the model")
        tensors = {
            f"{place} {index}": leaf
            for place, leaves in enumerate(self.batches)
            for index, leaf in enumerate(leaves)
            if isinstance(leaf, Tensor)
        }
        data = " ".join(from_all(digest(tensors)[:16]))
        self.head = {"distance": distance, "definition": DEFINITION, "baseline": 0.0, "data": data}

    def __call__(self, slim: Program) -> float:
        difference = Difference(self.distance)
        for leaves, own in zip(self.batches, self.own, strict=True):
            difference.add(own, self._outputs(slim, leaves))
        return difference.value

    @staticmethod
    def _outputs(program: Program, leaves: list[Any]) -> list[Tensor]:
        with torch.no_grad():
            return _floating(run(program.graph, program.tensors, leaves))


def _floating(outputs: Any) -> list[Tensor]:
    return [leaf for leaf in tensor_leaves(outputs) if leaf.is_floating_point()]

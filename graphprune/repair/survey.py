"""The first pass over the calibration data: what there is to repair, how much data, and how far the outputs are off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from graphprune.ground.errors import InputError
from graphprune.ground.processes import over_processes
from graphprune.repair.steps import Step
from graphprune.repair.walk import Walk

__all__ = ["Survey", "distance", "survey"]

UNCHANGED = 64  # rounding errors that a layer's result may be off by and still count as what it was


@dataclass
class Survey:
    """What a first pass finds.

    Args:
        batches: how many there are, over all processes.
        distance: of the outputs, see `distance`.
        changed: weights of the steps whose results differ from the original's.
        values: weight of a step → numbers that its calls make.
        sizes: call → bytes of all batches that wait before it.
        seconds: of the original alone.
    """

    batches: int = 0
    distance: float = 0.0
    changed: set[str] = field(default_factory=set)
    values: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def survey(walk: Walk, steps: Sequence[Step], order: Mapping[str, int]) -> Survey:
    """Runs both programs once.

    Raises:
        InputError: there are no batches, one does not fit the model or makes it fail, or an output is not finite.
    """
    found, total = Survey(), _Distance()
    calls = sorted((order[call], call, step.weight) for step in steps for call in step.calls)
    for number, pair in walk.whole():
        found.batches = number + 1
        try:
            for _, call, weight in calls:
                pair.advance(call)
                found.sizes[call] = found.sizes.get(call, 0) + pair.bytes()
                wanted, given = pair.through(call)
                found.values[weight] = found.values.get(weight, 0) + wanted.numel()
                if _differ(wanted, given):
                    found.changed.add(weight)
            pair.advance(None)
            found.seconds += pair.seconds
            total.add(*pair.outputs, number)
        except (RuntimeError, IndexError) as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"the model fails on calibration batch {number + 1}: {why}",
                "give batches that the model can run",
            ) from error
    found.distance = total.value
    _join(found)
    return found


def _join(found: Survey) -> None:
    """What all processes have found, so that all take the same steps; of bytes that wait, the mean."""
    numbers = {("processes", ""): 1, ("batches", ""): found.batches}
    numbers |= {("values", weight): count for weight, count in found.values.items()}
    numbers |= {("changed", weight): int(weight in found.changed) for weight in found.values}
    numbers |= {("sizes", call): size for call, size in found.sizes.items()}
    sums = over_processes({key: torch.tensor(number, dtype=torch.float64) for key, number in numbers.items()})
    total = {key: int(value) for key, value in sums.items()}
    found.batches = total["batches", ""]
    found.values = {weight: total["values", weight] for weight in found.values}
    found.changed = {weight for weight in found.values if total["changed", weight]}
    found.sizes = {call: total["sizes", call] // total["processes", ""] for call in found.sizes}


def distance(walk: Walk) -> float:
    """The outputs' squared distance to the original's, over the original's square; several outputs are averaged."""
    total = _Distance()
    for number, pair in walk.whole():
        pair.advance(None)
        total.add(*pair.outputs, number)
    return total.value


def _differ(wanted: Tensor, given: Tensor) -> bool:
    if not wanted.numel():
        return False
    bound = UNCHANGED * torch.finfo(wanted.dtype).eps * wanted.abs().max()
    return not bool((wanted - given).abs().max() <= bound)


class _Distance:
    def __init__(self) -> None:
        self.sums: dict[int, Tensor] = {}

    def add(self, wanted: Any, given: Any, number: int) -> None:
        pairs = zip(pytree.tree_leaves(wanted), pytree.tree_leaves(given), strict=True)
        for place, (one, other) in enumerate(pairs):
            if not isinstance(one, Tensor) or not one.is_floating_point():
                continue
            if not torch.isfinite(one).all():
                raise InputError(
                    f"the model's outputs for calibration batch {number + 1} are not finite",
                    "give batches without NaN and infinity",
                )
            off, energy = (one.double() - other.double()).square().sum(), one.double().square().sum()
            self.sums[place] = self.sums.get(place, 0) + torch.stack([off, energy]).cpu()

    @property
    def value(self) -> float:
        """Over the batches of all processes."""
        sums = (total.tolist() for total in over_processes(self.sums).values())
        ratios = [error / (energy or 1.0) for error, energy in sums]
        return sum(ratios) / max(len(ratios), 1)

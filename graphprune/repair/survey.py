"""The first pass over the calibration data: which layers changed, how much data there is, how far outputs are off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from graphprune.calibration.distances import Difference
from graphprune.calibration.sums import Sums
from graphprune.capture import tensor_leaves
from graphprune.ground.errors import InputError
from graphprune.repair.pair import Pair
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
    found, total = Survey(), Difference()
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
            _add(total, pair, number)
        except (RuntimeError, IndexError) as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"the model fails on calibration batch {number + 1}: {why}",
                "give batches that the model can run",
            ) from error
    found.distance = total.mean_ratio
    _join(found)
    return found


def _join(found: Survey) -> None:
    """What all processes have found, so that all take the same steps; of bytes that wait, the mean."""
    sums: Sums[tuple[str, str]] = Sums()
    sums.add(("processes", ""), 1)
    sums.add(("batches", ""), found.batches)
    for weight, count in found.values.items():
        sums.add(("values", weight), count)
        sums.add(("changed", weight), weight in found.changed)
    for call, size in found.sizes.items():
        sums.add(("sizes", call), size)
    total = {key: int(value) for key, value in sums.total().items()}
    found.batches = total["batches", ""]
    found.values = {weight: total["values", weight] for weight in found.values}
    found.changed = {weight for weight in found.values if total["changed", weight]}
    found.sizes = {call: total["sizes", call] // total["processes", ""] for call in found.sizes}


def distance(walk: Walk) -> float:
    """The squared relative error of the outputs, see `Difference`."""
    total = Difference()
    for number, pair in walk.whole():
        pair.advance(None)
        _add(total, pair, number)
    return total.mean_ratio


def _add(total: Difference, pair: Pair, number: int) -> None:
    wanted, given = pair.outputs
    if not all(torch.isfinite(leaf).all() for leaf in tensor_leaves(wanted) if leaf.is_floating_point()):
        raise InputError(
            f"the model's outputs for calibration batch {number + 1} are not finite",
            "give batches without NaN and infinity",
        )
    total.add(wanted, given)


def _differ(wanted: Tensor, given: Tensor) -> bool:
    if not wanted.numel():
        return False
    bound = UNCHANGED * torch.finfo(wanted.dtype).eps * wanted.abs().max()
    return not bool((wanted - given).abs().max() <= bound)

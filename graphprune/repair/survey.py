"""The first pass over the calibration data: which layers changed, how much data there is, how far outputs are off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graphprune.calibration.distances import Difference
from graphprune.calibration.sums import Sums
from graphprune.capture import tensor_leaves
from graphprune.ground.errors import InputError, first_line
from graphprune.repair.pair import Pair
from graphprune.repair.steps import Step
from graphprune.repair.walk import Walk

__all__ = ["Survey", "distance", "survey"]

UNCHANGED = 64  # rounding errors that a layer's result may be off by and still count as what it was


@dataclass(frozen=True)
class Survey:
    """What a first pass finds, over all processes, so that all take the same steps.

    Args:
        batches: how many there are.
        distance: of the outputs, see `distance`.
        changed: weights of the steps whose results differ from the original's.
        values: weight of a step → numbers that its calls make.
        sizes: call → bytes of all batches of a process that wait before it; the mean over processes.
        seconds: of the original alone, in this process.
    """

    batches: int
    distance: float
    changed: set[str]
    values: Mapping[str, int]
    sizes: Mapping[str, int]
    seconds: float


def survey(walk: Walk, steps: Sequence[Step], order: Mapping[str, int]) -> Survey:
    """Runs both programs once.

    Raises:
        InputError: there are no batches, one does not fit the model or makes it fail, or an output is not finite.
    """
    sums: Sums[tuple[str, str]] = Sums()
    sums.add(("processes", ""), 1)
    outputs, seconds = Difference(), 0.0
    calls = sorted((order[call], call, step.weight) for step in steps for call in step.calls)
    for number, pair in walk.whole():
        sums.add(("batches", ""), 1)
        try:
            for _, call, weight in calls:
                pair.advance(call)
                sums.add(("sizes", call), pair.bytes())
                wanted, given = pair.through(call)
                sums.add(("values", weight), wanted.numel())
                sums.add(("changed", weight), _differ(wanted, given))
            pair.advance(None)
            seconds += pair.seconds
            _add(outputs, pair, number)
        except (RuntimeError, IndexError) as error:
            raise InputError(
                f"the model fails on calibration batch {number + 1}: {first_line(error)}",
                "give batches that the model can run",
            ) from error
    total = {key: int(value) for key, value in sums.total().items()}
    processes = total["processes", ""]
    return Survey(
        batches=total["batches", ""],
        distance=outputs.mean_ratio,
        changed={weight for what, weight in total if what == "changed" and total[what, weight]},
        values={weight: count for (what, weight), count in total.items() if what == "values"},
        sizes={call: size // processes for (what, call), size in total.items() if what == "sizes"},
        seconds=seconds,
    )


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

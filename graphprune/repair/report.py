"""What a repair did, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from graphprune.ground.errors import InputError

__all__ = ["RepairReport", "StepReport"]


@dataclass(frozen=True)
class StepReport:
    """One layer.

    Args:
        layer: its name.
        kind: "weights" (refitted, and the bias with them), "bias" (shifted), "statistics" (of a batch norm, estimated
            anew) or "none" (nothing predicted better than what was there).
        before: mean squared error of what the layer makes, over the variance of the original's.
        after: the same after the step; of weights and biases foretold for each half of the data from the other.
        ridge: of the regression, over the mean variance of its regressors; 0 where there was none.
        rows: output positions that were looked at.
    """

    layer: str
    kind: str
    before: float
    after: float
    ridge: float = 0.0
    rows: int = 0


@dataclass(frozen=True)
class RepairReport:
    """A repair.

    Args:
        steps: in the order in which they were taken.
        left: layers that could not be refitted, with the reason.
        before: squared distance of the outputs to the original's over the calibration data, over the original's square.
        after: the same with all steps.
        kept: whether the repaired tensors are in the model: not if ``after`` is larger than ``before``, or not finite.
        tensors: names of those that differ from the plain cut.
        batches: of calibration data.
        seconds: of the repair, of solving in it, and of one pass over the calibration data with the original.
    """

    steps: tuple[StepReport, ...]
    left: Mapping[str, str]
    before: float
    after: float
    kept: bool
    tensors: tuple[str, ...]
    batches: int
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RepairReport:
        """Reads what `to_dict` gave.

        Raises:
            InputError: something is missing, or is not of it.
        """
        try:
            steps = tuple(StepReport(**step) for step in values["steps"])
            return cls(**{**values, "steps": steps, "tensors": tuple(values["tensors"])})
        except (KeyError, TypeError) as error:
            raise InputError("the report of the repair is damaged", "shrink the model again") from error

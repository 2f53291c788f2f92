"""What a run of fine-tuning is asked to do, and what it tells while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import fx

from graphprune.asking.tuning import Tuning
from graphprune.axes.dependency import DependencyGraph
from graphprune.calibration import Evaluate, Loss
from graphprune.planning import Plan

__all__ = ["Job", "Moment", "Watch"]


@dataclass(frozen=True)
class Moment:
    """Where a run stands. ``metric`` is the last figure of the evaluation, ``best`` the best one."""

    step: int
    steps: int
    epoch: int
    loss: float
    metric: float | None
    best: float | None
    seconds_left: float


Watch = Callable[[Moment], None]


@dataclass(frozen=True)
class Job:
    """One run of fine-tuning. What is not named here means what it means to `graphprune.tune`.

    Args:
        graph: of the original, which is the teacher.
        plan: what makes ``model`` of the original.
        model: the slim model. It is left as it was; a copy is trained.
    """

    graph: DependencyGraph
    plan: Plan
    model: fx.GraphModule
    loader: Any
    settings: Tuning = field(default_factory=Tuning)
    loss: Loss | None = None
    evaluate: Evaluate | None = None
    checkpoint: Path | None = None
    watch: Watch | None = None

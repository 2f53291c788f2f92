"""Importance criteria. A criterion gives every group one score per unit; higher is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Protocol

from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.calibration.batches import Calibration
from graphprune.calibration.losses import Loss
from graphprune.ground.errors import InputError
from graphprune.scoring.activations import ACTIVATIONS
from graphprune.scoring.contributions import CONTRIBUTIONS
from graphprune.scoring.gradients import GRADIENTS
from graphprune.scoring.measures import AGGREGATES, NORMALISERS, Measure, View
from graphprune.scoring.peer import PeerImportance, is_peer, takes_gradients
from graphprune.scoring.reconstruction import RECONSTRUCTION, REFIT
from graphprune.scoring.weights import MAGNITUDE, REDUNDANCY
from graphprune.scoring.whole import as_floats

__all__ = ["CRITERIA", "Criterion", "Importance", "find_importance"]

CRITERIA: dict[str, Measure] = (
    MAGNITUDE | REDUNDANCY | ACTIVATIONS | CONTRIBUTIONS | GRADIENTS | RECONSTRUCTION | REFIT
)
LOSSES = (*GRADIENTS, *REFIT)  # criteria that take a loss


class Importance(Protocol):
    """What gives scores.

    Called with the dependency graph, the model's tensors by name and a seed, it returns for each group ``[size]``
    scores, or ``[fibre size, size]`` for a fibred group; higher is kept. Budgets compare them between groups as they
    are. None says that the group cannot be judged: it stays whole.
    """

    def __call__(
        self, graph: DependencyGraph, tensors: Mapping[str, Tensor], seed: int
    ) -> Mapping[str, Tensor | None]: ...


@dataclass(frozen=True)
class Criterion:
    """An importance criterion by name, with how its scores are put together.

    Args:
        name: a key of `CRITERIA`: "l1", "l2", "linf", "lamp", "bn_scale", "random", "fpgm", "cosine",
            "activation_mean", "activation_variance", "activation_norm", "apoz", "wanda", "fluctuation",
            "contribution", "taylor", "taylor_abs", "obd", "fisher", "reconstruction", "refit", "refit_shrunk".
        aggregate: over the members of a group: "sum", "mean", "max", "prod", "producers" (their sum) or "first" (the
            first producer).
        normalise: over the units of a group, so that groups can be compared: "none", "mean", "max", "sum",
            "standard" or "lamp". Empty takes the criterion's own, as for ``aggregate``.
        calibration: batches, see `Calibration`; criteria that look at activations or gradients need them.
        loss: ``loss(outputs)`` or ``loss(outputs, batch)``; None takes `signs_loss`, which needs no labels.

    Raises:
        InputError: a name is unknown.
    """

    name: str
    aggregate: str = ""
    normalise: str = ""
    calibration: Any = field(default=None, repr=False)
    loss: Loss | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _known("importance", self.name, CRITERIA)
        _known("aggregate", self.aggregate or "sum", AGGREGATES)
        _known("normalise", self.normalise or "none", NORMALISERS)

    @classmethod
    def parse(cls, text: str) -> Criterion:
        """``"NAME"``, ``"NAME:AGGREGATE"`` or ``"NAME:AGGREGATE:NORMALISE"``; each may be empty but the name."""
        parts = text.split(":")
        if len(parts) > 3:
            raise InputError(f"importance {text!r} has {len(parts)} parts", "write NAME:AGGREGATE:NORMALISE")
        name, aggregate, normalise = (*parts, "", "")[:3]
        return cls(name, aggregate, normalise)

    @property
    def measure(self) -> Measure:
        """What it measures."""
        return CRITERIA[self.name]

    def __str__(self) -> str:
        return f"{self.name}:{self.aggregate}:{self.normalise}".rstrip(":")

    def __call__(
        self, graph: DependencyGraph, tensors: Mapping[str, Tensor], seed: int
    ) -> dict[str, Tensor | None]:
        """Scores of every group, float64.

        Raises:
            InputError: it needs calibration data and has none, or data and loss do not fit the model.
        """
        view = View(graph, as_floats(graph.program, tensors), seed)
        if self.measure.collect is not None:
            if self.calibration is None:
                raise _missing_data(self.name)
            data = Calibration(self.calibration, self.loss, seed)
            view = replace(view, collected=self.measure.collect(view, data))
        return {group.name: self._scores(view, group) for group in graph.groups}

    def _scores(self, view: View, group: Any) -> Tensor | None:
        parts = list(self.measure.score(view, group))
        if not parts:
            return None
        scores = AGGREGATES[self.aggregate or self.measure.aggregate](parts) ** self.measure.power
        return NORMALISERS[self.normalise or self.measure.normalise](scores)


def _missing_data(name: str) -> InputError:
    return InputError(
        f"importance {name!r} looks at data, and there is none",
        "give calibration batches: calibration=DataLoader(...), or --calibration FILE",
    )


def _known(what: str, name: str, table: Iterable[str]) -> None:
    if name not in table:
        near = get_close_matches(name, table, 3)
        names = dict.fromkeys([*near, *table])
        raise InputError(f"unknown {what} {name!r}", f"use one of {', '.join(names)}")


def find_importance(
    importance: Any, calibration: Any = None, loss: Loss | None = None, shared: bool = False
) -> Importance:
    """The criterion that ``importance`` spells, see `Criterion.parse`, or the one given, with its data.

    Objects of ``torch_pruning.importance`` are adapted, see `PeerImportance`.

    Args:
        shared: the calibration data are for something else too, so that a criterion that looks at none leaves them.

    Raises:
        InputError: no criterion has that name; it needs calibration data and has none, or looks at no data and is
            given some.
    """
    if is_peer(importance):
        unread = shared and not takes_gradients(importance)
        return PeerImportance(importance, None if unread else calibration, loss)
    found: Importance = Criterion.parse(importance) if isinstance(importance, str) else importance
    if isinstance(found, Criterion) and found.measure.collect is not None:
        return _with_data(found, calibration, loss)
    if (calibration is not None and not shared) or loss is not None:
        what = str(found) if isinstance(found, Criterion) else type(found).__name__
        raise InputError(
            f"importance {what!r} looks at no data",
            "leave calibration and loss out, or use another importance",
        )
    return found


def _with_data(criterion: Criterion, calibration: Any, loss: Loss | None) -> Criterion:
    if loss is not None and criterion.name not in LOSSES:
        raise InputError(f"importance {criterion.name!r} takes no gradients", "leave the loss out")
    calibration = criterion.calibration if calibration is None else calibration
    if calibration is None:
        raise _missing_data(criterion.name)
    return replace(criterion, calibration=calibration, loss=loss or criterion.loss)

"""A request: options that are known to fit together, and what they come to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from graphprune.asking.conflicts import CONFLICTS
from graphprune.asking.options import AUTO, EXPORT_DTYPES, WEIGHTS, Options
from graphprune.ground.dynamic import Dynamic, read_dynamic
from graphprune.ground.errors import InputError
from graphprune.ground.options import check_numbers, share
from graphprune.planning import COSTS, Budget, Constraints, check_ranking
from graphprune.planning.budgets import values_of
from graphprune.planning.schedule import check_schedule
from graphprune.planning.ties import read_ties
from graphprune.profiling.device import Device, read_device
from graphprune.scoring import Criterion, Importance, find_importance
from graphprune.scoring.criteria import LOSSES

__all__ = ["CHOICES", "Request"]

# importance and ranking that "auto" tries: each is the best of them for some model (docs/choice.md, docs/accuracy.md).
# Where a try is dear, the first ones alone are tried
CHOICES = (
    ("refit_shrunk", "per_cost"),
    ("refit", "per_cost"),
    ("refit", "isomorphic"),
    ("lamp", "isomorphic"),
    ("lamp", "global"),
    ("l2", "isomorphic"),
    ("fisher::none", "per_cost"),
)
TOKENS_FIRST = ("refit", "isomorphic")  # what is taken where all that was made are tokens
# for data that nothing of the model has shaped: what units do on them says little of what they are for
BLIND_CHOICES = (("l2", "isomorphic"), ("lamp", "isomorphic"), ("l2", "global"))


@dataclass(frozen=True, kw_only=True)
class Request(Options):
    """Options that have been checked, all before any work.

    Raises:
        InputError: an option is out of range, or options do not go together.
    """

    def __post_init__(self) -> None:
        # an iterator could be walked once only, and scores, trials and repair each walk the data
        if isinstance(self.calibration, Iterator):
            object.__setattr__(self, "calibration", list(self.calibration))
        object.__setattr__(self, "dynamic", read_dynamic(self.dynamic))
        object.__setattr__(self, "times", None if self.times is None else str(self.times))
        check_numbers(self)
        self._read_keep()
        check_ranking(self.ranking)
        check_schedule(self.rounds, self.schedule)
        for conflict in CONFLICTS:
            if conflict.is_in(self):
                raise InputError(conflict.message.format(self), conflict.remedy)
        _ = self.budgets, self.constraints, self.criterion, self.device

    def _read_keep(self) -> None:
        """``keep`` as the ratio that it comes to."""
        if self.keep is None:
            return
        if self.ratio is not None:
            raise InputError("keep and ratio are given together", "give one of them: keep=0.7 is ratio=0.3")
        try:
            kept = share("keep", self.keep)
        except InputError as error:
            raise InputError(
                error.message,
                f"{error.remedy}; several values are for ratio, layers to leave alone for protect",
            ) from None
        if not 0 < kept <= 1:
            raise InputError(
                f"keep={kept} is out of range", "give the share of units to keep, between 0 and 1"
            )
        object.__setattr__(self, "ratio", round(1 - kept, 12))
        object.__setattr__(self, "keep", None)

    @property
    def instead(self) -> list[str]:
        """What was given that says which units go, instead of a budget."""
        return ["plan"] * (self.plan is not None) + ["lossless"] * self.lossless

    @property
    def is_lossless(self) -> bool:
        """Whether only what is dead goes, now or in the plan that is replayed."""
        return self.lossless or (self.plan is not None and bool(self.plan.request.get("lossless")))

    @property
    def wanted_outputs(self) -> tuple[str, ...]:
        """The outputs that the slim model returns: those of the plan where one is replayed and none are named."""
        return tuple(self.outputs) or (self.plan.outputs if self.plan else ())

    @property
    def wanted_dynamic(self) -> Dynamic:
        """Which sizes may vary: as the plan says where one is replayed and nothing else is said."""
        return read_dynamic(self.plan.dynamic) if self.plan and self.dynamic == AUTO else self.dynamic

    @property
    def wanted_export_dtype(self) -> str | None:
        """The type of the ONNX file's numbers: as the plan says where one is replayed and nothing else is said."""
        known = self.plan.request.get("export_dtype") if self.plan else None
        return self.export_dtype or (str(known) if known in EXPORT_DTYPES else None)

    @cached_property
    def budgets(self) -> tuple[Budget, ...]:
        """Any number of budgets of costs; or one ratio; or none where something stands `instead`."""
        given = {kind: getattr(self, kind) for kind in (*COSTS, "ratio")}
        if several := next((kind for kind, value in given.items() if len(values_of(value)) > 1), ""):
            raise InputError(f"{several} has several values, and this takes one", "give one, or use sweep")
        budgets = tuple(Budget.parse(kind, value) for kind, value in given.items() if value is not None)
        exclusive = ["ratio"] * (self.ratio is not None) + self.instead
        if len(exclusive) + any(budget.kind in COSTS for budget in budgets) != 1:
            names = [*(budget.kind for budget in budgets), *self.instead]
            what = f"{' and '.join(names)} are given together" if names else "no budget is given"
            raise InputError(
                what, f"give any of {', '.join(COSTS)}, or exactly one of ratio, keep, lossless and plan"
            )
        return budgets

    @property
    def is_timed(self) -> bool:
        """Whether a latency is asked for."""
        return self.latency is not None

    @cached_property
    def device(self) -> Device | None:
        """The device that a latency is planned for, where that is not this machine.

        Raises:
            InputError: the file holds no times.
        """
        return None if self.times is None else read_device(self.times)

    @cached_property
    def constraints(self) -> Constraints:
        """What a plan must respect; multiples of 1 where those that the runtime likes are to be found."""
        ratios = {
            pattern: share(f"the ratio of {pattern!r}", value)
            for pattern, value in (self.ratios or {}).items()
        }
        align = 1 if self.align == AUTO else _whole("align", self.align)
        return Constraints(
            align,
            self.min_keep,
            tuple([self.protect] if isinstance(self.protect, str) else self.protect),
            share("max_ratio", self.max_ratio),
            ratios,
            read_ties(self.ties),
        )

    @cached_property
    def criterion(self) -> Importance:
        """The importance with its data; that of the first of `choices` where several are to be tried."""
        if self.choices:
            return self.choices[0].criterion
        # trials and a repair look at the calibration data too, so the criterion need not
        shared = bool(self.repair) or self.trials > 0
        if self.importance == AUTO:  # which comes to be settled when there are data
            return find_importance(WEIGHTS)
        return find_importance(self.importance, self.calibration, self.loss, shared)

    @cached_property
    def choices(self) -> tuple[Request, ...]:
        """The requests that "auto" is to choose from; none where the user has chosen, or there are no data."""
        if self.importance != AUTO or self.calibration is None:
            return ()
        blind, of_tokens = (bool(getattr(self.calibration, name, False)) for name in ("blind", "of_tokens"))
        known = BLIND_CHOICES if blind else sorted(CHOICES, key=TOKENS_FIRST.__ne__) if of_tokens else CHOICES
        # a ratio of every group leaves nothing to rank, and a ranking that is given is taken
        one = self.ranking if self.ranking != Options.ranking else "global" if self.ratio else None
        tried = dict.fromkeys((name, one or ranking) for name, ranking in known)
        return tuple(self.with_choice(name, ranking) for name, ranking in tried)

    def with_choice(self, importance: str, ranking: str, **other: Any) -> Request:
        """This request with one way to choose units, and ``other`` options changed."""
        changed: dict[str, Any] = {
            "calibration": self.calibration,
            "repair": self.repair,
            "trials": self.trials,
        }
        changed |= other
        criterion = Criterion.parse(importance)
        looks = criterion.measure.collect is not None or changed["repair"] or changed["trials"]
        changed["calibration"] = changed["calibration"] if looks else None
        changed["loss"] = self.loss if criterion.name in LOSSES else None
        return replace(self, importance=importance, ranking=ranking, **changed)


def _whole(name: str, given: Any) -> int:
    try:
        return int(given) if isinstance(given, str) else given
    except ValueError:
        remedy = f"give a multiple, 1 for any width, or {AUTO!r}"
        raise InputError(f"{name}={given!r} is no number", remedy) from None

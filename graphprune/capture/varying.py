"""Finds which sizes of its inputs a model lets vary, by trying others, see `graphprune.capture.trial`."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy
from torch import nn

from graphprune.capture.dimensions import Dimension
from graphprune.capture.inputs import Inputs
from graphprune.capture.trial import Place, Ran, Trial

__all__ = ["Vary", "Varying", "find_varying", "together"]

_EARLY = 8  # calls after which most models have seen whether the number of channels fits


@dataclass(frozen=True)
class Vary:
    """A size that varies, and all places of the inputs where it stands.

    Args:
        size: the example's.
        multiple: other sizes are multiples of it.
        large, small: two other sizes at which the model runs.
    """

    places: tuple[Place, ...]
    size: int
    large: int
    small: int
    multiple: int = 1

    @property
    def traced(self) -> int:
        """Where the graph is traced: not at the size 1, at which much is elided, and Python often decides otherwise."""
        return self.large if self.size == 1 else self.size

    @property
    def above(self) -> int:
        """A larger size, three multiples away: a size that is one more may be rounded off, as strides do."""
        return self.size + 3 * self.multiple

    def at(self, size: int) -> dict[Place, int]:
        return dict.fromkeys(self.places, size)


@dataclass(frozen=True)
class Varying:
    """What a model lets vary.

    Args:
        sizes: those that vary, each with two sizes that are far from the example's.
        tried: the same with two sizes at which the model runs the same operators; they may be nearer.
        fixed: why the others do not vary, where something tells.
        shapes: the shapes that the model returns where all sizes tried are large, and where all are small.
        united: the same sizes with those taken as one that stand in several inputs and have one size in the example;
            empty where ``sizes`` are taken so.
    """

    sizes: tuple[Vary, ...]
    fixed: Mapping[Place, str]
    trial: Trial
    tried: tuple[Vary, ...] = ()
    shapes: tuple[tuple[Any, ...], tuple[Any, ...]] = ((), ())
    level: int = 0
    united: tuple[Vary, ...] = ()

    @property
    def batch(self) -> Vary | None:
        """The size that stands first in the inputs, if it varies."""
        first = min(self.trial.places, default=None)
        return self.sizes[0] if self.sizes and first in self.sizes[0].places else None

    def without(self, reasons: Mapping[Place, str]) -> Varying:
        """The same with more places fixed, tried again; first those that stand in several inputs become one size."""
        if any(len(vary.places) > 1 and set(vary.places) & set(reasons) for vary in self.united):
            return dataclasses.replace(self, sizes=self.united, united=()).settled()
        kept = tuple(vary for vary in self.sizes if not set(vary.places) & set(reasons))
        gone = {place for vary in self.sizes if vary not in kept for place in vary.places}
        why = next(iter(reasons.values()), "")
        fixed = {**self.fixed, **{place: reasons.get(place, why) for place in gone}}
        united = tuple(vary for vary in self.united if not set(vary.places) & gone)
        return dataclasses.replace(self, sizes=kept, fixed=fixed, united=united).settled(self.level)

    def nearer(self) -> Varying | None:
        """The same, tried at sizes that are nearer to the example's; None where there are none."""
        return self._at(self.level + 1)

    def settled(self, first: int = 0) -> Varying:
        """With sizes to be tried at which the same operators run; a size is fixed where there are none.

        That is so of a loop over it. But a model may also go another way where sizes are very different, as windows
        that are wider than the image do.
        """
        if not self.trial.usable:
            return dataclasses.replace(self, tried=self.sizes)
        for level in range(first, len(_LEVELS)):
            found = self._at(level, self.sizes)
            if found is not None:
                return found
        vary_tried = [_LEVELS[-1](vary, order) for order, vary in enumerate(self.sizes)]
        reasons = {
            place: why for vary in vary_tried if (why := _loop(self.trial, vary)) for place in vary.places
        }
        return self.without(reasons or _not_together(self.trial, vary_tried))

    def _at(self, level: int, sizes: tuple[Vary, ...] | None = None) -> Varying | None:
        for deeper in range(level, len(_LEVELS) if sizes is None else level + 1):
            tried = tuple(_LEVELS[deeper](vary, order) for order, vary in enumerate(self.sizes))
            ran = _joint(self.trial, tried)
            if ran is not None and ran[0].calls == ran[1].calls:
                shapes = (ran[0].shapes, ran[1].shapes)
                return dataclasses.replace(self, tried=tried, shapes=shapes, level=deeper)
        return None


def _joint(trial: Trial, sizes: Sequence[Vary]) -> tuple[Ran, Ran] | None:
    """The runs with all sizes large, and all small; None if one fails."""
    large = trial.run(together(sizes, "large"))
    if large.problem:
        return None
    small = trial.run(together(sizes, "small"))
    return None if small.problem else (large, small)


def _not_together(trial: Trial, sizes: Sequence[Vary]) -> dict[Place, str]:
    """Places of the sizes with which the model does not run, or not alike, once those before them vary: and that."""
    kept: list[Vary] = []
    reasons: dict[Place, str] = {}
    for vary in sizes:
        ran = _joint(trial, [*kept, vary])
        if ran is not None and ran[0].calls == ran[1].calls:
            kept.append(vary)
        else:
            reasons |= dict.fromkeys(vary.places, "which operators run depends on it")
    return reasons


def _loop(trial: Trial, vary: Vary) -> str:
    """Where the model goes another way at the one size than at the other."""
    one, other = (trial.run(vary.at(size)).calls for size in (vary.large, vary.small))
    if one == other:
        return ""
    pairs = enumerate(zip(one, other, strict=False))
    call = next((n for n, (first, second) in pairs if first != second), min(len(one), len(other)))
    line = trial.line_of(vary.at(vary.large), call)
    return f"which operators run depends on it, as in a loop over it ({line})"


def together(sizes: Iterable[Vary], which: str) -> dict[Place, int]:
    """All places at their "large" or "small" sizes, or at the example's "size"."""
    return {place: size for vary in sizes for place, size in vary.at(getattr(vary, which)).items()}


def find_varying(
    model: nn.Module, inputs: Inputs, dimensions: Sequence[Dimension], ties: Mapping[Place, str]
) -> Varying:
    """Tries which of ``dimensions`` vary.

    Args:
        ties: names that the user gave; places of one name have one size.
    """
    return _Search(Trial(model, inputs)).search(_classes(dimensions, ties))


def _classes(dimensions: Sequence[Dimension], ties: Mapping[Place, str]) -> list[Vary]:
    """Dimensions of different tensors that have one size, as a text and its mask have, are first taken to be one."""
    found: dict[object, list[Dimension]] = {}
    seen: Counter[Place] = Counter()
    for at in dimensions:
        place = (at.place, at.dim)
        key: object = ties.get(place) or (at.size, seen[at.place, at.size])
        seen[at.place, at.size] += 1
        if at.size:
            found.setdefault(key, []).append(at)
    classes = ((tuple((at.place, at.dim) for at in members), members[0].size) for members in found.values())
    return [_vary(places, size, order) for order, (places, size) in enumerate(classes)]


def _vary(places: tuple[Place, ...], size: int, order: int, multiple: int = 1) -> Vary:
    """With other sizes that are far from the example's, and differ from class to class."""
    if multiple > 1:
        small = max(size // 2 // multiple, 1) * multiple
        large = 2 * size + multiple * order
        return Vary(places, size, large, small if small != size else large + multiple, multiple)
    # divided by 8 it leaves 3 or 5: what asks for multiples, or rounds a little, does not take it for one
    odd = 8 * (order // 2) + (3 if order % 2 else 5)
    large = 2 * size - odd if size > odd else size + 4 + 2 * order
    small = max(size // 2 - order, 2) if size > 3 else size + 1 + order
    return Vary(places, size, large, small if small != size else size + 1)


class _Search:
    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.fixed: dict[Place, str] = {}

    def search(self, classes: list[Vary]) -> Varying:
        alive, failed = self._alone(classes, _EARLY)
        if not self._run_together(alive, "large", "small"):
            alive, late = self._alone(alive)
            failed += late
        alive = self._agreeing([*alive, *self._rescued(failed, len(classes))])
        apart = self._apart(alive)
        united = alive if len(apart) > len(alive) else []
        alive = apart
        if not alive and not self.trial.usable:  # then the graph alone must show whether the batch varies
            alive = [vary for vary in classes if all(dim == 0 for _, dim in vary.places)][:1]
        ordered, first = (tuple(sorted(sizes, key=lambda vary: vary.places)) for sizes in (alive, united))
        return Varying(ordered, self.fixed, self.trial, united=first).settled()

    def _apart(self, classes: list[Vary]) -> list[Vary]:
        """The same with one size for each input that a size stands in, where the model runs so."""
        found = classes
        for vary in classes:
            orders = range(len(classes) + len(found), len(classes) + len(found) + len(vary.places))
            singles = [
                _vary((place,), vary.size, order) for place, order in zip(vary.places, orders, strict=True)
            ]
            candidate = [*(other for other in found if other is not vary), *singles]
            if len(singles) > 1 and vary.multiple == 1 and self._run_together(candidate, "large", "above"):
                found = candidate
        return found

    def _runs(self, vary: Vary, limit: int = 0) -> bool:
        """Whether the model runs, or its first calls do, where this size alone is another."""
        more = (
            () if limit else (vary.size + steps * vary.multiple for steps in (1, 3, 5))
        )  # one may fit by chance
        sizes = [vary.large, *more]
        ran = next((r for size in sizes if (r := self.trial.run(vary.at(size), limit)).problem), Ran())
        if ran.problem:
            # of a layer that the input enters at once, as of the number of channels, nothing is to be said
            why = "" if ran.at_once else f"the model does not run at another size: {ran.problem}"
            self.fixed |= {place: why for place in vary.places if place not in self.fixed}
        return not ran.problem

    def _run_together(self, classes: Sequence[Vary], *which: str) -> bool:
        return not any(self.trial.run(together(classes, size)).problem for size in which)

    def _alone(self, classes: list[Vary], limit: int = 0) -> tuple[list[Vary], list[Vary]]:
        """Those at whose other sizes the model runs, and those at which it fails."""
        runs = [self._runs(vary, limit) for vary in classes]
        alive = [vary for vary, ran in zip(classes, runs, strict=True) if ran]
        return alive, [vary for vary, ran in zip(classes, runs, strict=True) if not ran]

    def _rescued(self, failed: list[Vary], order: int) -> list[Vary]:
        """Of those that fail alone: some of one size that vary together, multiples, and sizes with an upper limit."""
        found: list[Vary] = []
        by_size: dict[int, list[Place]] = {}
        for vary in failed:
            by_size.setdefault(vary.size, []).extend(vary.places)
        for size, places in by_size.items():
            left = list(places)
            for group in _groupings(places):
                united = _vary(group, size, order + len(found))
                if set(group) <= set(left) and self._runs(united):
                    found.append(united)
                    left = [place for place in left if place not in group]
            for place in left:
                other = self._otherwise(_vary((place,), size, order + len(found)))
                found += [other] if other is not None else []
        for place in (place for vary in found for place in vary.places):
            self.fixed.pop(place, None)
        return found

    def _otherwise(self, vary: Vary) -> Vary | None:
        """The size with a multiple that others must be of, or with smaller ones alone."""

        def runs(size: int) -> bool:
            return not self.trial.run(vary.at(size)).problem

        order = vary.places[0][1]
        if vary.size > 1 and runs(2 * vary.size):
            multiple = vary.size
            for prime, power in sympy.factorint(vary.size).items():
                for _ in range(power):
                    if runs(vary.size + multiple // prime):
                        multiple //= prime
            return _vary(vary.places, vary.size, order, multiple)
        below = vary.size - 1 - order % 2, vary.size // 2 - order % 2
        if vary.size > 4 and all(map(runs, below)):
            return dataclasses.replace(vary, large=below[0], small=below[1])
        return None

    def _agreeing(self, classes: list[Vary]) -> list[Vary]:
        """As many of them as run together, the first ones first."""
        if self._run_together(classes, "large", "above"):
            return classes
        taken: list[Vary] = []
        for vary in classes:
            if self._run_together([*taken, vary], "large", "above"):
                taken.append(vary)
            else:
                self.fixed |= dict.fromkeys(vary.places, "it does not vary together with other sizes")
        return taken


def _groupings(places: Sequence[Place]) -> list[tuple[Place, ...]]:
    """What may be one size: a place alone, the same dimension of several tensors, all places."""
    by_dim: dict[int, list[Place]] = {}
    for place in places:
        by_dim.setdefault(place[1], []).append(place)
    alone = [(place,) for place in places] if len(places) > 1 else []
    lined = [tuple(group) for group in by_dim.values() if len(group) > 1]
    return list(dict.fromkeys([*alone, *lined, *([tuple(places)] if len(places) > 1 else [])]))


def _as_is(vary: Vary, order: int) -> Vary:
    return vary


def _below(vary: Vary, order: int) -> Vary:
    """The smaller size but a little below the example's."""
    return dataclasses.replace(vary, small=_beside(vary, -1 - order))


def _near(vary: Vary, order: int) -> Vary:
    return dataclasses.replace(vary, small=_beside(vary, -1 - order), large=_beside(vary, 1 + order))


def _beside(vary: Vary, steps: int) -> int:
    size = vary.size + steps * vary.multiple
    return size if size > 1 else vary.size + (2 - steps) * vary.multiple


_LEVELS = (_as_is, _below, _near)

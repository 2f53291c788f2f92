"""The sizes of its inputs that a model lets vary, and those at which it is tried, see `graphprune.capture.trial`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphprune.capture.trial import Place, Ran, Trial

__all__ = ["Vary", "Varying", "together"]


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

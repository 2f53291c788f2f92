"""The sizes of its inputs that a model lets vary, and those at which it is tried, see `graphprune.capture.trial`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy

from graphprune.capture.trial import Constant, Place, Ran, Trial

__all__ = ["Vary", "Varying", "in_multiples", "least_multiple", "together"]


Constants = Sequence[tuple[Constant, float]]


@dataclass(frozen=True)
class Vary:
    """A size that varies, and all places of the inputs where it stands.

    Args:
        size: the example's.
        multiple: other sizes are multiples of it.
        large, small: two other sizes at which the model runs.
        ends: two sizes in their place at which it goes the same way, if it does so on one side of the example's alone.
    """

    places: tuple[Place, ...]
    size: int
    large: int
    small: int
    multiple: int = 1
    ends: tuple[int, int] | None = None

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

    def without(self, reasons: Mapping[Place, str], constants: Constants = ()) -> Varying:
        """The same with more places fixed, or kept where the model goes the same way, and tried again.

        First those that stand in several inputs become one size.

        Args:
            constants: numbers of calls that are constants of the graph, with their values.
        """
        if any(len(vary.places) > 1 and set(vary.places) & set(reasons) for vary in self.united):
            return dataclasses.replace(self, sizes=self.united, united=()).settled()
        guided = tuple(self._guided(*pair, reasons, constants) for pair in enumerate(self.sizes))
        if guided != self.sizes:
            return dataclasses.replace(self, sizes=guided).settled()
        kept = tuple(vary for vary in self.sizes if not set(vary.places) & set(reasons))
        gone = {place for vary in self.sizes if vary not in kept for place in vary.places}
        why = next(iter(reasons.values()), "")
        fixed = {**self.fixed, **{place: reasons.get(place, why) for place in gone}}
        united = tuple(vary for vary in self.united if not set(vary.places) & gone)
        return dataclasses.replace(self, sizes=kept, fixed=fixed, united=united).settled(self.level)

    def _guided(self, order: int, vary: Vary, reasons: Mapping[Place, str], constants: Constants) -> Vary:
        """The size tried at those others alone at which the model goes the way of the trace, if it is to blame."""
        blamed = set(vary.places) & set(reasons) and vary.traced == vary.size
        if not blamed or (vary.ends and not constants):
            return vary
        way = self._traced()
        if way.problem:
            return vary

        def holds(size: int) -> bool:
            ran = self._traced(vary.at(size))
            return ran.calls == way.calls and all(ran.number(at) == value for at, value in constants)

        multiple = least_multiple(vary.size, holds) if vary.multiple == 1 or constants else 0
        if multiple > vary.multiple:
            return in_multiples(vary, order, multiple)
        if vary.ends:
            return vary
        return dataclasses.replace(vary, ends=_ends(vary, order, holds))

    def nearer(self) -> Varying | None:
        """The same, tried at sizes that are nearer to the example's; None where there are none."""
        return self._at(self.level + 1)

    def settled(self, first: int = 0) -> Varying:
        """With sizes to be tried at which the same operators run; a size is fixed where there are none.

        That is so of a loop over it. But a model may also go another way where sizes are very different, as windows
        that are wider than the image do, and where a multiple is not met, as one that then pads.
        """
        if not self.trial.usable:
            return dataclasses.replace(self, tried=self.sizes)
        found = self._at(first)
        if found is not None:
            return found
        if not self.sizes:  # it does not run on the example: the export says why
            return dataclasses.replace(self, tried=())
        near = [_near(vary, order) for order, vary in enumerate(self.sizes)]
        reasons = {place: why for vary in near if (why := self._loop(vary)) for place in vary.places}
        return self.without(reasons or self._not_together(near))

    def _at(self, first: int) -> Varying | None:
        """The same, tried at the first level from ``first`` on at which the same operators run; None without any."""
        for level in range(first, len(_LEVELS)):
            tried = tuple(_LEVELS[level](vary, order) for order, vary in enumerate(self.sizes))
            ran = _joint(self.trial, tried)
            if ran is None or ran[0].calls != ran[1].calls:
                continue
            # both may go another way, as neighbours of a multiple do, and what is larger than a window
            if _LEVELS[level] in (_as_is, _below) or ran[0].calls == self._traced().calls:
                shapes = (ran[0].shapes, ran[1].shapes)
                return dataclasses.replace(self, tried=tried, shapes=shapes, level=level)
        return None

    def _loop(self, vary: Vary) -> str:
        """How the model goes another way at one of the sizes tried than when it is traced."""
        traced = together(self.sizes, "traced")
        way = self.trial.run(traced).calls
        for size in (vary.large, vary.small):
            at = {**traced, **vary.at(size)}
            ran = self.trial.run(at)
            if ran.problem:
                return f"the model does not run at another size: {ran.problem}"
            if ran.calls != way:
                pairs = enumerate(zip(ran.calls, way, strict=False))
                call = next((n for n, (one, other) in pairs if one != other), min(len(ran.calls), len(way)))
                line = self.trial.line_of(at, call)
                return f"which operators run depends on it, as in a loop over it ({line})"
        return ""

    def _not_together(self, sizes: Sequence[Vary]) -> dict[Place, str]:
        """Places of the sizes with which the model fails or goes another way, once those before vary: and that."""
        kept: list[Vary] = []
        reasons: dict[Place, str] = {}
        for vary in sizes:
            ran = _joint(self.trial, [*kept, vary])
            if ran is not None and ran[0].calls == ran[1].calls == self._traced().calls:
                kept.append(vary)
            else:
                reasons |= dict.fromkeys(vary.places, "which operators run depends on it")
        return reasons

    def _traced(self, other: Mapping[Place, int] | None = None) -> Ran:
        """The run at the sizes at which the graph is traced, but for ``other`` ones."""
        return self.trial.run({**together(self.sizes, "traced"), **(other or {})})


def least_multiple(size: int, holds: Callable[[int], bool]) -> int:
    """The least divisor of ``size`` of which a size must be a multiple so that something ``holds``; 0 without any."""
    if size < 2 or not holds(2 * size):
        return 0
    multiple = size
    for prime in sympy.primefactors(size):
        while multiple % prime == 0 and holds(size + multiple // prime):
            multiple //= prime
    return multiple


def _ends(vary: Vary, order: int, holds: Callable[[int], bool]) -> tuple[int, int] | None:
    """Two sizes, far apart, on that side of the example's alone on which something ``holds``; None without any."""
    step = vary.multiple
    above, below = holds(vary.size + step), vary.size > step and holds(vary.size - step)
    if above == below:
        return None
    near, far = (1, vary.size // step) if above else (1, vary.size // step // 2)
    step = step if above else -step
    while far - near > 1:
        middle = (near + far) // 2
        near, far = (middle, far) if holds(vary.size + step * middle) else (near, middle)
    if near < 2:
        return None
    most = max(near - order, 2)
    one, other = (vary.size + step * steps for steps in (min(1 + order, most - 1), most))
    return max(one, other), min(one, other)


def in_multiples(vary: Vary, order: int, multiple: int) -> Vary:
    """The same tried at other multiples, which differ from order to order."""
    if multiple == vary.size:  # then none is smaller, and two and three times as much is much already
        large, small = (2 * multiple, 3 * multiple) if order % 2 else (3 * multiple, 2 * multiple)
    else:
        small = max(vary.size // 2 // multiple, 1) * multiple
        large = 2 * vary.size + multiple * (order + 1)
    return Vary(vary.places, vary.size, large, small, multiple)


def _joint(trial: Trial, sizes: Sequence[Vary]) -> tuple[Ran, Ran] | None:
    """The runs with all sizes large, and all small; None if one fails."""
    large = trial.run(together(sizes, "large"))
    if large.problem:
        return None
    small = trial.run(together(sizes, "small"))
    return None if small.problem else (large, small)


def together(sizes: Iterable[Vary], which: str) -> dict[Place, int]:
    """All places at their "large" or "small" sizes, or at the example's "size"."""
    return {place: size for vary in sizes for place, size in vary.at(getattr(vary, which)).items()}


def _as_is(vary: Vary, order: int) -> Vary:
    large, small = vary.ends or (vary.large, vary.small)
    return dataclasses.replace(vary, large=large, small=small)


def _below(vary: Vary, order: int) -> Vary:
    """The smaller size but a little below the example's, or beside the larger one where there is none below."""
    small = _beside(vary, -1 - order)
    return dataclasses.replace(vary, small=small + vary.multiple if small == vary.large else small)


def _above(vary: Vary, order: int) -> Vary:
    """Both sizes above the example's, where those below are too small, as for a wide kernel."""
    small = _beside(vary, 1 + order)
    return dataclasses.replace(vary, small=small, large=max(vary.large, small + vary.multiple))


def _near(vary: Vary, order: int) -> Vary:
    return dataclasses.replace(vary, small=_beside(vary, -1 - order), large=_beside(vary, 1 + order))


def _beside(vary: Vary, steps: int) -> int:
    size = vary.size + steps * vary.multiple
    return size if size > 1 else vary.size + (2 - steps) * vary.multiple


_LEVELS = (_as_is, _below, _above, _near)

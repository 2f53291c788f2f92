"""Finds which sizes of its inputs a model lets vary, by trying others, see `graphprune.capture.trial`."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from torch import nn

from graphprune.capture.dimensions import Dimension
from graphprune.capture.inputs import Inputs
from graphprune.capture.trial import Place, Ran, Trial
from graphprune.capture.varying import Vary, Varying, in_multiples, least_multiple, together

__all__ = ["find_varying"]

_EARLY = 8  # calls after which most models have seen whether the number of channels fits


def find_varying(
    model: nn.Module, inputs: Inputs, dimensions: Sequence[Dimension], ties: Mapping[Place, str]
) -> Varying:
    """Tries which of ``dimensions`` vary.

    Args:
        ties: names that the user gave; places of one name have one size.
    """
    return _Search(Trial(model, inputs), ties).search(_classes(dimensions, ties))


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


def _vary(places: tuple[Place, ...], size: int, order: int) -> Vary:
    """With other sizes that are far from the example's, and differ from class to class."""
    # divided by 8 it leaves 3 or 5: what asks for multiples, or rounds a little, does not take it for one
    odd = 8 * (order // 2) + (3 if order % 2 else 5)
    large = 2 * size - odd if size > odd else size + 4 + 2 * order
    small = max(size // 2 - order, 2) if size > 3 else size + 1 + order
    return Vary(places, size, large, small if small != size else size + 1)


class _Search:
    def __init__(self, trial: Trial, ties: Mapping[Place, str]) -> None:
        self.trial, self.ties = trial, ties
        self.fixed: dict[Place, str] = {}

    def search(self, classes: list[Vary]) -> Varying:
        alive, failed = self._alone(classes, _EARLY)
        fit = self._run_together(alive, "large", "small")
        if not fit:
            alive, late = self._alone(alive)
            failed += late
        rescued = self._rescued(failed, len(classes))
        if rescued or not fit:
            alive = self._agreeing([*alive, *rescued])
        apart = self._apart(alive)
        united = alive if len(apart) > len(alive) else []
        alive = apart
        alive = [vary for vary in alive if not self._are_channels(vary)]
        if not alive and not self.trial.usable:  # then the graph alone must show whether the batch varies
            alive = [vary for vary in classes if all(dim == 0 for _, dim in vary.places)][:1]
        ordered, first = (tuple(sorted(sizes, key=lambda vary: vary.places)) for sizes in (alive, united))
        return Varying(ordered, self.fixed, self.trial, united=first).settled()

    def _apart(self, classes: list[Vary]) -> list[Vary]:
        """The same with one size for each input that a size stands in, unless a name ties them or nothing runs so."""
        found = classes
        for vary in classes:
            if any(len(self._tied([place])) > 1 for place in vary.places):
                continue
            orders = range(len(classes) + len(found), len(classes) + len(found) + len(vary.places))
            singles = [
                _vary((place,), vary.size, order) for place, order in zip(vary.places, orders, strict=True)
            ]
            candidate = [*(other for other in found if other is not vary), *singles]
            fit = len(singles) > 1 and vary.multiple == 1 and self._run_together(candidate, "large", "above")
            if fit and self._run_on_values(singles):
                found = candidate
        return found

    def _run_on_values(self, singles: Sequence[Vary]) -> bool:
        """Whether each may be the larger: without values, places in a tensor may lie beyond it."""
        sizes = [vary.size + 3 * rank for rank, vary in enumerate(singles)]
        places = [vary.places[0] for vary in singles]
        return all(
            self.trial.runs_on_values(dict(zip(places, order, strict=True))) for order in (sizes, sizes[::-1])
        )

    def _are_channels(self, vary: Vary) -> bool:
        """Whether a size is of channels after all: without values, some layers take any number of them."""
        usual = not any(self.trial.usual_channels(place) for place in vary.places)
        if usual or self.trial.runs_on_values(vary.at(vary.above)):
            return False
        self.fixed |= dict.fromkeys(vary.places, "")
        return True

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
            groups = [group for group in _groupings(places) if self._tied(group) == set(group)]
            attempts = [
                *((self._of_any_size, group) for group in groups if len(places) > 1),
                *((self._of_multiple, group) for group in groups),
                *((self._below, group) for group in groups if self._tied(group[:1]) == set(group)),
            ]
            for attempt, group in attempts:
                taken = {place for vary in found for place in vary.places}
                if not taken & set(group):
                    other = attempt(_vary(group, size, order + len(found)), len(found))
                    found += [other] if other is not None else []
        for place in (place for vary in found for place in vary.places):
            self.fixed.pop(place, None)
        return found

    def _tied(self, places: Sequence[Place]) -> set[Place]:
        """These places, and all that have a name with one of them."""
        names = {self.ties[place] for place in places if self.ties.get(place)}
        return {*places, *(place for place, name in self.ties.items() if name in names)}

    def _fits(self, vary: Vary, size: int) -> bool:
        return not self.trial.run(vary.at(size)).problem

    def _of_any_size(self, vary: Vary, order: int) -> Vary | None:
        return vary if self._runs(vary) else None

    def _of_multiple(self, vary: Vary, order: int) -> Vary | None:
        """The size with a multiple that others must be of."""
        multiple = least_multiple(vary.size, lambda size: self._fits(vary, size))
        return in_multiples(vary, order, multiple) if multiple > 1 else None

    def _below(self, vary: Vary, order: int) -> Vary | None:
        """The size with smaller ones alone."""
        below = vary.size - 1 - order % 2, vary.size // 2 - order % 2
        if vary.size > 4 and all(self._fits(vary, size) for size in below):
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
    groups = [*((place,) for place in places), *map(tuple, by_dim.values()), tuple(places)]
    return list(dict.fromkeys(groups))

"""Tunes how much each group loses by measurement: scores say which of a group's units go, not how groups compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

from graphprune.ground.errors import InputError

__all__ = ["balanced", "check_trials"]

Scores = Mapping[str, Tensor | None]
Kept = Mapping[str, Tensor]
STEPS = (4.0, 2.0, 2.0**0.5)  # factors on the scores of one group, coarse ones first


def check_trials(trials: int, evaluate: object) -> None:
    """Raises InputError unless these options of a shrink go together."""
    if not isinstance(trials, int) or trials < 0:
        raise InputError(f"trials={trials!r} is not a whole number", "give 0 for none, or about 50")
    if evaluate is not None and not trials:
        raise InputError("evaluate is given, and there are no trials", "give trials=50, or leave it out")


def balanced(
    scores: Scores,
    choose: Callable[[Scores], Kept],
    harm: Callable[[Kept], float],
    trials: int,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> Kept:
    """The plan with the least measured harm that is found in so many ``trials``.

    Coordinate descent: the scores of one group after the other are multiplied by a factor or divided by it, everything
    is planned anew under the same budget, and what harms less is kept. Plans that were measured before cost nothing.

    Args:
        scores: of every group, 0 or more.
        choose: scores → kept units under the budget.
        harm: kept units → what the slim model's outputs suffer.
        watch: called with the number of trials done, and of all.

    Raises:
        InputError: there are negative scores.
    """
    if any(score is not None and bool((score < 0).any()) for score in scores.values()):
        raise InputError(
            "trials multiply scores, and some are negative", "use another normalise than standard"
        )
    search = _Search(scores, choose, harm)
    for name, factor in search.moves():
        watch(len(search.known), trials)
        if len(search.known) >= trials:
            break
        search.attempt(name, factor)
    return search.best


class _Search:
    def __init__(
        self, scores: Scores, choose: Callable[[Scores], Kept], harm: Callable[[Kept], float]
    ) -> None:
        self.scores = dict(scores)
        self.choose = choose
        self.harm = harm
        self.known: dict[tuple[bytes, ...], float] = {}
        self.best = choose(scores)
        self.least = self._measured(self.best)
        self.improved = False

    def moves(self) -> Iterator[tuple[str, float]]:
        """Groups and factors, again while they help."""
        names = [name for name, score in self.scores.items() if score is not None]
        for step in STEPS:
            self.improved = True
            while self.improved:
                self.improved = False
                yield from ((name, factor) for name in names for factor in (step, 1 / step))

    def attempt(self, name: str, factor: float) -> None:
        """Keeps the factor if that harms less."""
        score = self.scores[name]
        assert score is not None
        changed = {**self.scores, name: score * factor}
        kept = self.choose(changed)
        found = self._measured(kept)
        if found < self.least:
            self.scores, self.best, self.least, self.improved = changed, kept, found, True

    def _measured(self, kept: Kept) -> float:
        key = tuple(kept[name].numpy().tobytes() for name in sorted(kept))
        if key not in self.known:
            self.known[key] = self.harm(kept)
        return self.known[key]

"""``trials``: how much each group loses is tuned by measurement. Scores still say which of a group's units go."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping

from torch import Tensor

from graphprune.ground.errors import InputError
from graphprune.searching.search import Trial, search

__all__ = ["balanced"]

Scores = Mapping[str, Tensor | None]
Kept = Mapping[str, Tensor]
STEPS = (4.0, 2.0, 2.0**0.5)  # factors on the scores of one group, coarse ones first


def balanced(
    scores: Scores, choose: Callable[[Scores], Kept], harm: Callable[[Kept], float], trials: int
) -> Kept:
    """The choice with the least measured harm that is found in so many ``trials``.

    Coordinate descent: the scores of one group after the other are multiplied by a factor or divided by it, everything
    is chosen anew under the same budget, and what harms less is kept.

    Args:
        scores: of every group, 0 or more.
        choose: scores → kept units under the budget.
        harm: kept units → what the slim model's outputs suffer.

    Raises:
        InputError: there are negative scores.
    """
    if any(score is not None and bool((score < 0).any()) for score in scores.values()):
        raise InputError(
            "trials multiply scores, and some are negative", "use another normalise than standard"
        )

    def propose(trials: list[Trial[Kept, float]]) -> Iterator[Kept]:
        best = dict(scores)
        yield choose(best)
        least = trials[-1].outcome
        for changed in _moves(best):
            yield choose(changed)
            if trials[-1].outcome < least:
                least = trials[-1].outcome
                best.update(changed)

    measured = search(propose, harm, _key, max(trials, 1))
    return min(measured, key=lambda trial: trial.outcome).candidate


def _moves(best: Mapping[str, Tensor | None]) -> Iterator[dict[str, Tensor | None]]:
    """``best`` with one group's scores changed; a step is tried again as long as it has helped."""
    for step in STEPS:
        before: Mapping[str, Tensor | None] = {}
        while any(score is not before.get(name) for name, score in best.items()):
            before = dict(best)
            for name, factor in ((name, factor) for name in best for factor in (step, 1 / step)):
                score = best[name]
                if score is not None:
                    yield {**best, name: score * factor}


def _key(kept: Kept) -> Hashable:
    return tuple(kept[name].numpy().tobytes() for name in sorted(kept))

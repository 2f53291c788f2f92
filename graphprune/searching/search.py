"""The one loop of this room: propose, measure, adjust."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Trial", "search"]

Candidate = TypeVar("Candidate")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Trial(Generic[Candidate, Outcome]):
    """A candidate, and what measuring it came to."""

    candidate: Candidate
    outcome: Outcome


def search(
    propose: Callable[[list[Trial[Candidate, Outcome]]], Iterable[Candidate]],
    measure: Callable[[Candidate], Outcome],
    key: Callable[[Candidate], Hashable] = id,
    most: int | None = None,
) -> list[Trial[Candidate, Outcome]]:
    """Measures what a strategy proposes, until it proposes no more.

    Args:
        propose: the strategy. It is given the list of trials, which grows while it runs, so that every proposal can
            follow from what was measured before.
        measure: what a candidate comes to.
        key: candidates with the same key are the same; what was measured of one is not measured again.
        most: the number of measurements after which the search ends.

    >>> def halve(trials):
    ...     width = 64
    ...     while not trials or trials[-1].outcome > 10:
    ...         yield width
    ...         width //= 2
    >>> [trial.candidate for trial in search(halve, measure=lambda width: width + 1)]
    [64, 32, 16, 8]
    """
    trials: list[Trial[Candidate, Outcome]] = []
    known: dict[Hashable, Outcome] = {}
    for candidate in propose(trials):
        name = key(candidate)
        if name not in known:
            if len(known) == most:
                break
            known[name] = measure(candidate)
        trials.append(Trial(candidate, known[name]))
    return trials

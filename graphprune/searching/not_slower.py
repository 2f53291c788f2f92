"""``not_slower``: wider multiples where the slim model takes longer than its original.

Some kernels are fast at multiples of their vector length only, so that a smaller model can be the slower one.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphprune.ground.clock import Clock
from graphprune.planning import Plan
from graphprune.searching.latency import timed
from graphprune.searching.prepared import Prepared
from graphprune.searching.rounds import planned
from graphprune.searching.search import Trial, search

__all__ = ["not_slower"]

WIDER = (1, 2, 4)  # times the multiples that the runtime likes
NOISE = 0.02  # two measurements of the same file differ by this much


def not_slower(prepared: Prepared, clock: Clock) -> Prepared:
    """What was prepared, with the smallest multiples whose slim model is not slower; else with those of the fastest.

    Raises:
        BudgetError: a budget cannot be met.
    """

    def propose(trials: list[Trial[Prepared, float]]) -> Iterator[Prepared]:
        for times in WIDER:
            if not trials or trials[-1].outcome > 1 + NOISE:
                yield prepared if times == 1 else prepared.wider(times)

    def measure(candidate: Prepared) -> float:
        with clock("plan"):
            plan: Plan = planned(candidate)
        return timed(candidate, plan, clock).ratio

    return min(search(propose, measure), key=lambda trial: trial.outcome).candidate

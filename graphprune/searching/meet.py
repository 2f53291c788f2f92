"""From what was prepared to a proved cut that meets the budgets."""

from __future__ import annotations

from graphprune.cutting.cut import Cut, cut, equals_masked
from graphprune.cutting.repaired import Repairing
from graphprune.ground.clock import Clock
from graphprune.searching.latency import timed_plan
from graphprune.searching.met import budgets_met
from graphprune.searching.prepared import Prepared
from graphprune.searching.rounds import cut_in_rounds, planned
from graphprune.verifying import Verdict

__all__ = ["meet"]


def meet(prepared: Prepared, repairer: Repairing | None, clock: Clock) -> Cut:
    """The cut that meets the budgets, proved, and repaired if that was asked for.

    Where weights change between the rounds, each round is cut from what the one before it has left. Otherwise the
    rounds come to one plan, and that is cut once. A latency is met by trying plans out, each made in all rounds.

    Raises:
        BudgetError: a budget cannot be met.
        VerificationError: the slim model is not what was asked for.
    """
    request = prepared.request
    changes = request.between is not None or (repairer is not None and not request.is_timed)
    if request.rounds > 1 and changes:
        return cut_in_rounds(prepared, repairer, clock)
    if request.is_timed:
        plan = timed_plan(prepared, clock)
    else:
        with clock("plan"):
            plan = planned(prepared)

    def proof(made: Cut) -> Verdict:
        return equals_masked(request.seed)(made).with_checks(*budgets_met(prepared, plan))

    made = cut(prepared.graph, plan, clock, proof, request.seed)
    return made if repairer is None else repairer(made, clock)

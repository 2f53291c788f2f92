"""From what was prepared to a proved cut that meets the budgets."""

from __future__ import annotations

from dataclasses import replace

from graphprune.cutting.cut import Cut, cut, equals_masked
from graphprune.cutting.repaired import Repairing
from graphprune.ground.clock import Clock
from graphprune.searching.latency import timed_plan
from graphprune.searching.met import budgets_met
from graphprune.searching.prepared import Prepared, prepare
from graphprune.searching.rounds import cut_in_rounds, planned
from graphprune.searching.settled import Settled
from graphprune.verifying import Verdict

__all__ = ["meet", "meet_well"]


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
        return equals_masked(request.seed, prepared.captured)(made).with_checks(*budgets_met(prepared, plan))

    made = cut(prepared.graph, plan, clock, proof, request.seed)
    return made if repairer is None else repairer(made, clock)


def meet_well(settled: Settled, prepared: Prepared, repairer: Repairing | None, clock: Clock) -> Cut:
    """The cut of `meet`, judged; where "auto" chose, that by weights alone if its outputs are nearer on the same data.

    Data that were made may be far from the model's own, and a repair on them may do harm.

    Raises:
        As `meet`.
    """
    made, judge, program = meet(prepared, repairer, clock), settled.judge, prepared.graph.program
    if judge is None:
        return made
    with clock("judge the answers"):
        made = replace(made, fidelity=judge(program, made.slim))
    if settled.plain is None or made.fidelity is None:
        return made
    plain = prepare(prepared.graph, settled.plain, clock, prepared.known)
    with clock("judge the answers"):
        other = judge(program, cut(prepared.graph, planned(plain)).slim)
    if other.error >= made.fidelity.error:
        return made
    return replace(meet(plain, None, clock), fidelity=other)

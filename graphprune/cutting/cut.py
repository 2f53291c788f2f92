"""A cut: a plan carried out, and proved where a proof is asked for. Every slim model of the package is made here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from torch import fx

from graphprune.axes.dependency import Cost, DependencyGraph
from graphprune.calibration import Fidelity
from graphprune.capture.program import Program
from graphprune.capture.raising import raise_program
from graphprune.cutting.fitting import Fit
from graphprune.ground.clock import Clock
from graphprune.ground.errors import VerificationError
from graphprune.lossless import LosslessReport
from graphprune.planning import Plan, make_plan
from graphprune.repair import RepairReport
from graphprune.rewriting import rewrite
from graphprune.verifying import Check, Verdict, check_random, guilty_groups, verify

__all__ = ["Cut", "Proof", "cut", "equals_masked"]


@dataclass(frozen=True)
class Cut:
    """A slim model.

    Args:
        graph: of the original.
        plan: which units of ``graph`` are kept.
        slim: the slim program.
        verdict: every check that was made; empty where nothing was proved, as for candidates that are only measured.
        repair: what a repair did afterwards.
        lossless: why each unit could go, where nothing but dead ones went.
        fit: what the user's own class asks of a plan, where it is to come back.
        fidelity: what became of the answers, where there are data to judge them on.
    """

    graph: DependencyGraph
    plan: Plan
    slim: Program
    verdict: Verdict = field(default_factory=lambda: Verdict(()))
    repair: RepairReport | None = None
    lossless: LosslessReport | None = None
    fit: Fit | None = None
    fidelity: Fidelity | None = None

    @cached_property
    def module(self) -> fx.GraphModule:
        """The slim program as layers of `torch.nn`."""
        return raise_program(self.slim)

    @property
    def cost(self) -> Cost:
        """Of the slim model."""
        planned = self.graph.cost(self.plan.sizes)
        return replace(planned, params=self.slim.parameter_count)  # biases that take constants are new


Proof = Callable[[Cut], Verdict]


def cut(
    graph: DependencyGraph, plan: Plan, clock: Clock | None = None, proof: Proof | None = None, seed: int = 0
) -> Cut:
    """Carries out ``plan`` on ``graph``, and has it proved.

    Args:
        proof: what checks the slim model; None leaves it unproved, for a candidate that is measured and thrown away.
        seed: of the checks' random tensors.

    Raises:
        VerificationError: a check fails; the message names the check, the node and the groups to blame.
    """
    clock = clock or Clock()
    with clock("rewrite"):
        made = Cut(graph, plan, rewrite(graph, plan))
    if proof is None:
        return made
    with clock("verify"):
        verdict = proof(made)
        if not verdict.passed:
            raise _refusal(graph, plan, verdict, seed)
    return replace(made, verdict=verdict)


def _refusal(graph: DependencyGraph, plan: Plan, verdict: Verdict, seed: int) -> VerificationError:
    """What failed, where first, and by which group.

    A rule is said to be wrong only where two values differ. What could not run says nothing of values.
    """
    failed = [check for check in verdict.checks if not check.passed]
    differs = any(check.ran for check in failed)

    def fails(names: Sequence[str]) -> bool:
        part = make_plan(graph, {name: plan.groups[name] for name in names})
        return not check_random(graph, part, rewrite(graph, part), seed).passed

    names = [name for name, size in plan.sizes.items() if size < graph.by_name[name].size]
    guilty = guilty_groups(names, fails) if fails(names) and not fails(()) else ()
    first = "is not what was asked for" if differs else "cannot be compared with the original"
    what = f"the slim model {first}: {'; '.join(map(str, failed))}"
    if guilty:
        why = "a rule is wrong" if differs else "what is left of it does not run"
        return VerificationError(
            f"{what}; groups {', '.join(guilty[:5])}",
            f"nothing was written; protect these layers, and report the model: {why}",
        )
    why = "the model and the options" if differs else "the model: it does not run as the check needs it"
    return VerificationError(what, f"nothing was written; report {why}")  # such as a budget that was missed


def equals_masked(seed: int, captured: Callable[[], Sequence[Check]] | None = None) -> Proof:
    """The proof of an ordinary cut: the slim model equals the original with what was removed held at zero.

    Args:
        captured: as for `verify`.
    """
    return lambda made: verify(made.graph, made.plan, made.slim, made.module, seed, captured)

"""The largest set of units that can be held at zero without changing the outputs.

All units are held at zero to begin with. Then each operator, from the last one to the first, takes back those that it
needs, until none needs more. Units that only feed each other are never taken back, so they are removed together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

import torch
from torch import Tensor, fx

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.positions import units_at
from graphprune.capture.operations import Operation
from graphprune.capture.operators import arguments, family
from graphprune.lossless.facts import BIASED, Facts
from graphprune.lossless.readers import READ, Constant, Need, Reading, needs
from graphprune.planning.constraints import Limit
from graphprune.planning.masks import Masks

__all__ = ["WISHED", "Removal", "find_removal"]

WISHED = "align, min_keep or protect ask for it"
TIED = "another group of its tie keeps as many"
LAST = "every group keeps a unit"


@dataclass
class Removal:
    """Units that leave no trace, and why others stay.

    Args:
        gone: group name → ``[size]``, true for units that can be removed.
        living: likewise, true for units whose value varies and is read.
        why: group name → reason → ``[size]``, true for units that it keeps.
        amounts: operator call → what its bias must make up for, ``[output channels]``.
    """

    gone: dict[str, Tensor]
    living: dict[str, Tensor]
    why: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    amounts: dict[str, Tensor] = field(default_factory=dict)


def find_removal(
    graph: DependencyGraph, facts: Facts, limits: Mapping[str, Limit], because: str = WISHED
) -> Removal:
    """What can be removed from every group.

    Args:
        limits: the widths that groups may take; where more is dead than they allow, the first units stay.
        because: why they do.
    """
    search = _Search(graph, facts)
    search.settle()
    while search.respect(limits, because):
        search.settle()
    return search.found


class _Search:
    def __init__(self, graph: DependencyGraph, facts: Facts) -> None:
        self.graph = graph
        self.facts = facts
        self.lengths = graph.batch_sizes(facts.batches)
        gone = {g.name: torch.ones(g.size, dtype=torch.bool) for g in graph.groups}
        living = {g.name: torch.zeros(g.size, dtype=torch.bool) for g in graph.groups}
        self.found = Removal(gone, living)
        self.problems = _problems(graph)
        self.masks = self._masks()

    def _masks(self) -> Masks:
        gone = self.found.gone
        kept = {g.atom: ~gone[g.name] for g in self.graph.groups if gone[g.name].any()}
        return Masks(kept, {}, self.lengths)

    def settle(self) -> None:
        """Gives back what is needed until nothing is."""
        changed = True
        while changed:
            self.found.amounts.clear()
            # a list, since every operator must be asked
            changed = any([self._give_back(call) for call in reversed(self.graph.program.operations)])

    def _give_back(self, call: Operation) -> bool:
        step, changed = self.facts.steps.get(call.name), False
        if step is None:
            return False
        terms, problem = self.graph.analysis.terms, self.problems.get(call.name, "")
        reading = Reading(call, step, self.facts.values, terms, self.masks, problem)
        for need in needs(reading) if reading.touched else ():
            if isinstance(need, Constant):
                self.found.amounts[need.operation.name] = need.amount
            else:
                changed |= self._noted(need)
        self.masks = self._masks() if changed else self.masks
        return changed

    def _noted(self, need: Need) -> bool:
        term = self.graph.analysis.terms[need.value.name][need.dim]
        changed = False
        for atom, units in units_at(term, need.positions, self.lengths, self.graph.by_atom):
            name = self.graph.by_atom[atom].name
            if need.why == READ:
                self.found.living[name] |= units
            elif units.any():
                reasons = self.found.why.setdefault(name, {})
                reasons[need.why] = reasons.get(need.why, torch.zeros_like(units)) | units
            changed |= bool((self.found.gone[name] & units).any())
            self.found.gone[name] = self.found.gone[name] & ~units
        return changed

    def respect(self, limits: Mapping[str, Limit], because: str) -> bool:
        """Gives back units where a group would be narrower than it may be; whether any had to be."""
        changed = False
        left = {name: limit.size - int(self.found.gone[name].sum()) for name, limit in limits.items()}
        widest: dict[str, Fraction] = {}  # shares that are left
        for name, limit in limits.items():
            tie = limit.tie or name
            widest[tie] = max(Fraction(left[name], limit.size), widest.get(tie, Fraction(0)))
        for name, limit in limits.items():
            gone, wanted = self.found.gone[name], ceil(widest[limit.tie or name] * limit.size)
            allowed = max(-(-wanted // limit.step) * limit.step, limit.least)
            back = gone.nonzero().flatten()[: min(allowed, limit.size) - left[name]]
            if len(back):
                changed = True
                gone[back] = False
                why = LAST if limit.least == 1 and limit.step == 1 else because
                why = TIED if wanted > left[name] else why
                given = self.found.why.setdefault(name, {}).setdefault(why, torch.zeros_like(gone))
                given[back] = True
        self.masks = self._masks() if changed else self.masks
        return changed


def _problems(graph: DependencyGraph) -> dict[str, str]:
    """Why a layer's bias can take nothing, by the name of its operator call; those that can are not listed."""
    layers = {operation.name: operation.layer for operation in graph.program.operations}
    return {
        node.name: f"{layers.get(node.name) or node.name} {why}"
        for node in graph.program.graph.nodes
        if node.op == "call_function" and family(node) in BIASED
        if (why := _problem(node, graph.program.stored))
    }


def _problem(node: fx.Node, stored: Collection[str]) -> str:
    weight, bias = arguments(node)["weight"], arguments(node)["bias"]
    if not isinstance(weight, fx.Node) or weight.op != "get_attr":
        return "computes its weight"
    if isinstance(bias, fx.Node):
        held = bias.op == "get_attr" and len(bias.users) == 1
        return "" if held else "has a bias that is used elsewhere too"
    name = str(weight.target)
    if len(weight.users) > 1:
        return "has no bias, and is called several times"
    if not name.endswith(".weight") or name.replace(".weight", ".bias") in stored:
        return "has no bias, and no name for one"
    return ""

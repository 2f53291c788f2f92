"""What a lossless shrink found: units that went, units that are dead and stayed, zeros that became smaller shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.groups import Group
from graphprune.axes.positions import places, units_at
from graphprune.axes.terms import Atom, Term, atoms
from graphprune.lossless.facts import factors, per_position
from graphprune.lossless.find import Lossless
from graphprune.planning.plan import Plan
from graphprune.planning.region import narrowed

__all__ = ["GroupReport", "LosslessReport", "TensorReport", "make_report"]


@dataclass(frozen=True)
class GroupReport:
    """One group with dead units.

    Args:
        removed: kind → number of units: "zero" wherever they are read, "constant", "unread", or "repeated".
        stayed: reason → number of dead units that had to stay.
    """

    name: str
    size: int
    removed: Mapping[str, int]
    stayed: Mapping[str, int]


@dataclass(frozen=True)
class TensorReport:
    """One parameter with zeros in it.

    Args:
        elements, zeros: of the original.
        removed: zeros that are gone; ``elements_removed`` counts what else went with them, too.
        stayed: reason → rows and columns that are all zero and are still there.
    """

    name: str
    elements: int
    zeros: int
    removed: int
    elements_removed: int
    stayed: Mapping[str, int]

    @property
    def left(self) -> int:
        """Zeros that no smaller shape can express, or that had to stay."""
        return self.zeros - self.removed


@dataclass(frozen=True)
class LosslessReport:
    """Groups with dead units, and parameters (matrices and kernels) with zeros."""

    groups: tuple[GroupReport, ...]
    tensors: tuple[TensorReport, ...]

    @property
    def units(self) -> int:
        """Units that were removed."""
        return sum(sum(group.removed.values()) for group in self.groups)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def make_report(graph: DependencyGraph, plan: Plan, found: Lossless) -> LosslessReport:
    """The account of what was ``found`` in ``graph``, the original."""
    varies = {group.atom: torch.zeros(group.size, dtype=torch.bool) for group in graph.groups}
    nonzero = dict(varies)
    lengths = graph.batch_sizes(found.facts.batches)
    for value, dim, unknown, constant in _read_values(graph, found):
        term = graph.analysis.terms[value][dim]
        for target, positions in ((varies, unknown), (nonzero, constant)):
            for atom, units in units_at(term, positions, lengths, target):
                target[atom] = target[atom] | units
    groups = [_group(found, group.name, varies[group.atom], nonzero[group.atom]) for group in graph.groups]
    tensors = [
        _tensor(graph, plan, found, name)
        for name in graph.tensor_terms
        if graph.program.stored[name].kind == "parameter" and graph.program.tensors[name].dim() > 1
    ]
    return LosslessReport(
        tuple(group for group in groups if group.removed or group.stayed),
        tuple(tensor for tensor in tensors if tensor.zeros),
    )


def _read_values(graph: DependencyGraph, found: Lossless) -> Iterator[tuple[str, int, Tensor, Tensor]]:
    """Every dimension of what products read, with the positions that vary and those that are constant."""
    for operation in graph.program.operations:
        step = found.facts.steps.get(operation.name)
        if step is None or factors(step) is None:
            continue
        for value in operation.inputs:
            if value.name not in graph.program.attributes:
                fact = found.facts.values[value.name]
                for dim in range(len(value.shape)):
                    yield value.name, dim, per_position(~fact.known, dim), per_position(fact.constant, dim)


def _group(found: Lossless, name: str, varies: Tensor, nonzero: Tensor) -> GroupReport:
    """``varies`` and ``nonzero`` say of which units products read a value that varies, or a constant."""
    removal = found.removal
    gone = removal.gone[name]
    repeated = torch.zeros_like(gone)
    repeated[[merger.copy for merger in found.mergers if merger.group == name]] = True
    rest = gone & ~repeated
    removed = {
        "zero": rest & ~varies & ~nonzero,
        "constant": rest & ~varies & nonzero,
        "unread": rest & varies,
        "repeated": gone & repeated,
    }
    open_ = ~gone & ~removal.living[name]
    stayed = {}
    for why, units in removal.why.get(name, {}).items():
        stayed[why] = units & open_
        open_ = open_ & ~units
    return GroupReport(name, len(gone), _counts(removed), _counts(stayed))


def _counts(kinds: Mapping[str, Tensor]) -> dict[str, int]:
    return {kind: int(units.sum()) for kind, units in kinds.items() if units.any()}


def _tensor(graph: DependencyGraph, plan: Plan, found: Lossless, name: str) -> TensorReport:
    zero = graph.program.tensors[name].detach().cpu() == 0
    kept = plan.kept.get(name, {})
    left = narrowed(zero, kept)
    stayed: Counter[str] = Counter()
    for dim, verb in enumerate(("feed", "read")):  # rows and columns
        dead = ~per_position(~zero, dim)
        if dim in kept:
            dead = dead & torch.zeros_like(dead).index_fill(0, kept[dim], True)
        for position in dead.nonzero().flatten().tolist():
            why = _reason(found, graph.by_atom, graph.tensor_terms[name][dim], position)
            stayed[why or f"other layers {verb} the same unit"] += 1
    zeros, still = int(zero.sum()), int(left.sum())
    return TensorReport(name, zero.numel(), zeros, zeros - still, zero.numel() - left.numel(), dict(stayed))


def _reason(found: Lossless, groups: Mapping[Atom, Group], term: Term, position: int) -> str:
    """Why the units at a position stay: a pin, or what needs them; empty if they live."""
    for atom in atoms(term):
        here = (places(term, atom, {}) == position).any(1)
        if here.any() and atom.pins:
            return str(getattr(next(iter(atom.pins)), "text", "it is pinned"))
        reasons = found.removal.why.get(groups[atom].name, {}) if atom in groups else {}
        for why, units in reasons.items():
            if (units & here).any():
                return why
    return ""

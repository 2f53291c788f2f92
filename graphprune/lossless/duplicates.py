"""Units that compute the same: what reads one can read the other, its columns added to the first one's.

Two units are the same if every stored tensor that makes or changes them holds the same for both; all else follows
from the operators, which treat the units of a group alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.groups import Group
from graphprune.axes.terms import Atom, atoms
from graphprune.capture.operations import Operation, Value
from graphprune.lossless.factors import BIASED
from graphprune.lossless.transfer import POINTWISE, REARRANGED, WINDOWS
from graphprune.lossless.units import places

__all__ = ["Merger", "find_duplicates", "merged"]

_ALIKE: frozenset[str] = POINTWISE | REARRANGED | WINDOWS | {"aten.batch_norm", "aten.embedding"}


@dataclass(frozen=True)
class Merger:
    """Unit ``copy`` of a group does what ``unit`` does."""

    group: str
    unit: int
    copy: int


@dataclass(frozen=True)
class _Uses:
    """Dimensions of stored tensors along a group: those that make the units, and those that only read them."""

    making: tuple[tuple[str, int], ...]
    reading: tuple[tuple[str, int], ...]


def find_duplicates(
    graph: DependencyGraph, tensors: Mapping[str, Tensor], known: set[tuple[str, int]]
) -> list[Merger]:
    """All units that repeat an earlier one of their group; ``known`` are (group, unit) that are no candidates."""
    found: list[Merger] = []
    for group in graph.groups:
        uses = _uses(graph, group.atom)
        if uses is None or not uses.making:
            continue
        rows = torch.cat([_rows(graph, group, tensors, *use) for use in uses.making], 1)
        _, classes = torch.unique(rows, dim=0, return_inverse=True)
        first: dict[int, int] = {}
        for unit, kind in enumerate(classes.tolist()):
            if (group.name, unit) in known:
                continue
            if kind in first:
                found.append(Merger(group.name, first[kind], unit))
            first.setdefault(kind, unit)
    return found


def merged(graph: DependencyGraph, tensors: Mapping[str, Tensor], mergers: list[Merger]) -> dict[str, Tensor]:
    """``tensors`` with the columns of every copy added to its unit's and set to zero; nothing changes in place."""
    result = dict(tensors)
    lengths: Mapping[Atom, int] = {}
    for merger in mergers:
        group = graph.by_name[merger.group]
        uses = _uses(graph, group.atom)
        assert uses is not None
        for name, dim in uses.reading:
            at = places(graph.tensor_terms[name][dim], group.atom, lengths)
            tensor = result[name].clone()
            columns = tensor.index_select(dim, at[merger.copy])
            tensor.index_add_(dim, at[merger.unit], columns)
            tensor.index_fill_(dim, at[merger.copy], 0)
            result[name] = tensor
    return result


def _rows(graph: DependencyGraph, group: Group, tensors: Mapping[str, Tensor], name: str, dim: int) -> Tensor:
    """What a tensor holds for every unit: ``[units, values]``."""
    at = places(graph.tensor_terms[name][dim], group.atom, {})
    return tensors[name].double().movedim(dim, 0)[at].flatten(1)


def _uses(graph: DependencyGraph, atom: Atom) -> _Uses | None:
    """How stored tensors are used along ``atom``; None where an operator could tell its units apart."""
    making: dict[tuple[str, int], None] = {}
    reading: dict[tuple[str, int], None] = {}
    stored = graph.program.attributes
    touches = _toucher(graph, atom)
    for operation in graph.program.operations:
        dims = [(v, dim) for v in operation.inputs for dim in touches(v)]
        if not dims and not any(touches(value) for value in operation.outputs):
            continue
        if operation.family not in BIASED and operation.family not in _ALIKE:
            return None
        if operation.family.startswith("aten.conv_transpose") and operation.arguments["groups"] != 1:
            return None
        read = _read_dimension(operation)
        for value, dim in dims:
            if value.name in stored:
                (reading if (value.name, dim) == read else making)[stored[value.name], dim] = None
        if read is not None and read[0] not in stored and operation.family in BIASED:
            return None  # a weight that is computed
    uses = _counts(graph)
    alone = all(uses[tensor] == 1 for tensor, _ in reading) and not set(making) & set(reading)
    return _Uses(tuple(making), tuple(reading)) if alone else None


def _toucher(graph: DependencyGraph, atom: Atom) -> Callable[[Value], list[int]]:
    terms = graph.analysis.terms

    def touches(value: Value) -> list[int]:
        return [dim for dim, term in enumerate(terms[value.name]) if any(a is atom for a in atoms(term))]

    return touches


def _read_dimension(operation: Operation) -> tuple[str, int] | None:
    """The weight and the dimension along which it sums."""
    if operation.family not in BIASED:
        return None
    weight = operation.arguments["weight"]
    return (weight.name, 0 if operation.family.startswith("aten.conv_transpose") else 1)


def _counts(graph: DependencyGraph) -> dict[str, int]:
    """How many operator calls read each stored tensor."""
    nodes = (node for node in graph.program.graph.nodes if node.op == "get_attr")
    return {str(node.target): len(node.users) for node in nodes}

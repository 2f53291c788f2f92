"""Units that compute the same: what reads one can read the other, its columns added to the first one's.

Two units are the same if every stored tensor that makes or changes them holds the same for both; all else follows
from the operators, which treat the units of a group alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.positions import places
from graphprune.axes.terms import Atom, atoms
from graphprune.capture.operations import Value
from graphprune.lossless.facts import BIASED
from graphprune.lossless.transfer import POINTWISE, REARRANGED, WINDOWS

__all__ = ["Merger", "find_duplicates", "merged"]

_ALIKE: frozenset[str] = POINTWISE | REARRANGED | WINDOWS | {"aten.batch_norm", "aten.embedding"}


@dataclass(frozen=True)
class Merger:
    """Unit ``copy`` of a group does what ``unit`` does."""

    group: str
    unit: int
    copy: int


Place = tuple[str, int]  # a stored tensor and one of its dimensions


def find_duplicates(
    graph: DependencyGraph, tensors: Mapping[str, Tensor], known: set[tuple[str, int]]
) -> list[Merger]:
    """All units that repeat an earlier one of their group; ``known`` are (group, unit) that are no candidates."""
    found: list[Merger] = []
    for group in graph.groups:
        making, _ = _uses(graph, group.atom)
        if not making:
            continue
        rows = []  # what each tensor holds for every unit, [units, values]
        for name, dim in making:
            at = places(graph.tensor_terms[name][dim], group.atom, {})
            rows.append(tensors[name].double().movedim(dim, 0)[at].flatten(1))
        _, classes = torch.unique(torch.cat(rows, 1), dim=0, return_inverse=True)
        first: dict[int, int] = {}
        for unit, kind in enumerate(classes.tolist()):
            if (group.name, unit) not in known and first.setdefault(kind, unit) != unit:
                found.append(Merger(group.name, first[kind], unit))
    return found


def merged(graph: DependencyGraph, tensors: Mapping[str, Tensor], mergers: list[Merger]) -> dict[str, Tensor]:
    """The tensors that change, in float64, when every copy's columns are added to its unit's and set to zero."""
    changed: dict[str, Tensor] = {}
    for merger in mergers:
        atom = graph.by_name[merger.group].atom
        for name, dim in _uses(graph, atom)[1]:
            own = changed[name] if name in changed else tensors[name].double()
            at = places(graph.tensor_terms[name][dim], atom, {})
            added = own.index_add(dim, at[merger.unit], own.index_select(dim, at[merger.copy]))
            changed[name] = added.index_fill_(dim, at[merger.copy], 0)
    return changed


def _uses(graph: DependencyGraph, atom: Atom) -> tuple[list[Place], list[Place]]:
    """Dimensions of stored tensors along ``atom``: those that make its units, and those that only read them.

    There are none where an operator could tell the units apart.
    """
    making: dict[Place, None] = {}
    reading: dict[Place, None] = {}
    stored, terms = graph.program.attributes, graph.analysis.terms

    def touched(values: Iterable[Value]) -> list[tuple[str, int]]:
        return [
            (v.name, dim) for v in values for dim, term in enumerate(terms[v.name]) if atom in atoms(term)
        ]

    for operation in graph.program.operations:
        dims = touched(operation.inputs)
        if not dims and not touched(operation.outputs):
            continue
        transposed = operation.family.startswith("aten.conv_transpose")
        read = None
        if operation.family in BIASED:
            read = (operation.arguments["weight"].name, 0 if transposed else 1)
        alike = operation.family in _ALIKE or (read is not None and read[0] in stored)
        if not alike or (transposed and operation.arguments["groups"] != 1):
            return [], []
        for value, dim in dims:
            if value in stored:
                (reading if (value, dim) == read else making)[stored[value], dim] = None
    nodes = (node for node in graph.program.graph.nodes if node.op == "get_attr")
    readers = {str(node.target): len(node.users) for node in nodes}
    alone = all(readers[tensor] == 1 for tensor, _ in reading) and not making.keys() & reading.keys()
    return (list(making), list(reading)) if alone else ([], [])

"""Columns and rows of a directed acyclic graph: Sugiyama's layered layout, by fast-sugiyama.

Sugiyama, Tagawa, Toda, "Methods for visual understanding of hierarchical system structures" (1981).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import reduce
from operator import or_

import networkx as nx

__all__ = ["Place", "layered"]

Place = tuple[float, int]
Edge = tuple[int, int]

LANES = 2  # rows that edges pass, per node: dense blocks and masks have thousands, each of which would need a place


def layered(graph: nx.DiGraph) -> tuple[dict[int, Place], dict[Edge, list[Place]]]:
    """Places of the nodes, as (column, row), and of the points that each edge passes on its way.

    Where edges pass very many rows, the longest have no route; the caller draws them aside.
    """
    try:
        from fast_sugiyama import from_edges
    except ImportError:
        return _in_rows(graph), {}
    places: dict[int, Place] = {}
    routes: dict[Edge, list[Place]] = {}
    left = 0.0
    for found, width, height, links in from_edges(_routed(graph), vertex_spacing=1, dummy_vertices=True):
        here = {node: (left + x, round(height - y)) for node, (x, y) in found}
        places |= {node: place for node, place in here.items() if node in graph}
        onward = {start: end for start, end in links if start not in graph}
        for start, step in links:
            if start in graph:
                end, passed = _followed(step, onward)
                routes[start, end] = [here[node] for node in passed]
        left += width + 1
    return places, routes


def _in_rows(graph: nx.DiGraph) -> dict[int, Place]:
    """Where fast-sugiyama cannot be had (Python 3.10): the rows alone, in the order of the graph, centred."""
    rows = list(nx.topological_generations(graph))
    widest = max(map(len, rows), default=0)
    return {
        node: ((widest - len(nodes)) / 2 + column, row)
        for row, nodes in enumerate(rows)
        for column, node in enumerate(sorted(nodes))
    }


def _followed(step: int, onward: Mapping[int, int]) -> tuple[int, list[int]]:
    passed = []
    while step in onward:
        passed.append(step)
        step = onward[step]
    return step, passed


def _routed(graph: nx.DiGraph) -> list[Edge]:
    """The edges that get a way of their own.

    Not those that repeat a longer path and come to their end in numbers, as in a dense block, where every layer reads
    all before it; one, as around a residual branch, does. Nor the longest, where they are many. Those stay without
    which the graph would fall apart.
    """
    rows = {node: row for row, nodes in enumerate(nx.topological_generations(graph)) for node in nodes}
    repeated = _repeated(graph)
    many = {end for end, count in Counter(end for _, end in repeated).items() if count > 1}
    joined = nx.utils.UnionFind(graph)
    room = LANES * len(graph)
    chosen = []
    for passed, start, end in sorted((rows[end] - rows[start] - 1, start, end) for start, end in graph.edges):
        wanted = end not in many or (start, end) not in repeated
        if (wanted and passed <= room) or joined[start] != joined[end]:
            room -= passed
            joined.union(start, end)
            chosen.append((start, end))
    return sorted(chosen)


def _repeated(graph: nx.DiGraph) -> set[Edge]:
    """Edges beside which there is a longer path; sets of nodes are kept as the bits of a number."""
    below: dict[int, int] = {}
    found: set[Edge] = set()
    for node in reversed(list(nx.topological_sort(graph))):
        steps = list(graph.successors(node))
        further = reduce(or_, (below[step] for step in steps), 0)
        below[node] = reduce(or_, (1 << step for step in steps), further)
        found.update((node, step) for step in steps if further >> step & 1)
    return found

"""The picture of a network in pixels: bars as wide as their layers, one under the other, and lines between them.

The page's script draws it from rows: one per bar, and one per corner of a line. Columns and rows are those of
Sugiyama's layered layout, by fast-sugiyama: Sugiyama, Tagawa, Toda, "Methods for visual understanding of hierarchical
system structures" (1981).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import reduce
from itertools import accumulate
from operator import or_
from typing import Any

import networkx as nx

from graphprune.ground.errors import InputError
from graphprune.report.formats import count_text

__all__ = ["drawn", "layered"]

Place = tuple[float, int]
Edge = tuple[int, int]
Point = tuple[float, float]
Row = dict[str, Any]

PAGE = 700.0  # what a picture of few columns is spread over
COLUMN = (210.0, 300.0)  # least and most from one column to the next
# heights of a label, of a layer, of a norm under it, and between rows
LABEL, BAR, NORM, GAP = 15.0, 13.0, 5.0, 15.0
LETTER = 6.3  # width of one in a label
LANE = 30.0  # for edges that are too long for a way of their own
LANES = 2  # rows that edges pass, per node: dense blocks and masks have thousands, each of which would need a place


def drawn(network: nx.DiGraph) -> Row:
    """The nodes of `layer_graph` from top to bottom, in pixels. What is joined to nothing is left out.

    Returns:
        ``bars`` by the numbers of their nodes, the corners of all ``lines``, the ``width`` and ``height`` of the
        picture, and the distance from one ``column`` to the next: the room that a bar and its label have.
    """
    network = network.subgraph([node for node in network if network.degree(node)])
    hosts = _hosts(network)
    guests: dict[int, list[int]] = {}
    for node, host in hosts.items():
        guests.setdefault(host, []).append(node)
    if not guests:
        return {"bars": [], "lines": [], "width": 0, "height": 0, "column": 0}
    coarse = nx.DiGraph()
    coarse.add_nodes_from(guests)
    coarse.add_edges_from((hosts[a], hosts[b]) for a, b in network.edges if hosts[a] != hosts[b])
    if not nx.is_directed_acyclic_graph(coarse):
        raise InputError("the network in the report runs in a circle", "shrink the model again")
    places, routes = layered(coarse)
    columns = 1 + max(column for column, _ in places.values())
    grid = _Grid(places, {host: len(nodes) for host, nodes in guests.items()}, columns)
    bars = {
        bar["id"]: bar for host, nodes in guests.items() for bar in _bars(network, nodes, grid, places[host])
    }
    lane = grid.column * columns + LANE / 2
    lines: list[Row] = []
    for start, end in coarse.edges:
        points = list(grid.corners(routes[start, end])) if (start, end) in routes else []
        if not points and (start, end) not in routes:
            points = [(lane, grid.tops[places[start][1] + 1]), (lane, grid.tops[places[end][1]])]
        begin = bars[start]["centre"], max(bars[node]["bottom"] for node in guests[start])
        corners = [begin, *points, (bars[end]["centre"], bars[end]["top"] - LABEL)]
        lines += (
            {"edge": f"{start}-{end}", "start": start, "place": place, "x": x, "y": y}
            for place, (x, y) in enumerate(corners)
        )
    wide = len(routes) < coarse.number_of_edges()
    return {
        "bars": [bar for _, bar in sorted(bars.items())],
        "lines": lines,
        "width": grid.column * columns + (LANE if wide else 0),
        "height": grid.tops[-1],
        "column": grid.column,
    }


class _Grid:
    """Pixels of columns and rows; a row is as high as its highest node."""

    def __init__(self, places: Mapping[int, Place], members: Mapping[int, int], columns: float) -> None:
        self.column = min(max(PAGE / columns, COLUMN[0]), COLUMN[1])
        heights = [0.0] * (1 + max(row for _, row in places.values()))
        for node, (_, row) in places.items():
            heights[row] = max(heights[row], LABEL + BAR + NORM * (members[node] - 1))
        self.tops = [0.0, *accumulate(height + GAP for height in heights)]

    def at(self, place: Place) -> Point:
        """The middle of the column, and the top of the row."""
        return self.column * (place[0] + 0.5), self.tops[place[1]]

    def corners(self, route: list[Place]) -> Iterator[Point]:
        """Down through the rows that an edge passes, in the gaps between them from one column to the next."""
        for column, row in route:
            across, top = self.at((column, row))
            yield across, top
            yield across, self.tops[row + 1] - GAP


def _hosts(network: nx.DiGraph) -> dict[int, int]:
    """Norms and scales that alone follow a layer and keep its width stand under it."""
    hosts: dict[int, int] = {}
    for node, data in sorted(network.nodes(data=True)):
        before = list(network.predecessors(node))
        alone = len(before) == 1 and network.out_degree(before[0]) == 1
        under = alone and data["tensors"] and not data["macs"][0]
        host = network.nodes[before[0]] if under else data
        fits = under and host["tensors"] and host["width"] == data["width"]
        hosts[node] = hosts[before[0]] if fits else node
    return hosts


def _bars(network: nx.DiGraph, nodes: list[int], grid: _Grid, place: Place) -> Iterator[Row]:
    """Bars one under the other; the first one has a label. They are as wide as the page's script scales their units."""
    centre, top = grid.at(place)
    top += LABEL
    for number in nodes:
        node, first = network.nodes[number], number == nodes[0]
        before, after = node["width"]
        widths = f"{before} → {after}" if after != before else str(before) if before else ""
        name = node["name"] or node["kind"]
        bottom = top + (BAR if first else NORM - 1)
        yield {
            "id": number,
            "name": name,
            "kind": node["kind"],
            "widths": widths or "–",
            "params": _change(node["params"]),
            "macs": _change(node["macs"]),
            "description": f"{name}, {node['kind']}, width {widths or 'none'}",
            "label": _label(node, widths, int(grid.column / LETTER) - 3) if first else "",
            "centre": centre,
            "before": before,
            "after": after,
            "top": top,
            "bottom": bottom,
        }
        top = bottom + 1


def _label(node: Mapping[str, Any], widths: str, letters: int) -> str:
    """Name and widths; of a long name the end, from a dot on, which says more than its beginning."""
    if not node["tensors"]:
        return str(node["name"] if node["kind"] == "input" else node["kind"])
    name, letters = node["name"], max(letters - len(widths) - 1, 8)
    end = name[1 - letters :]
    end = end.partition(".")[2] or end
    return f"{name if len(name) <= letters else '…' + end} {widths}"


def _change(pair: list[int]) -> str:
    before, after = pair
    return count_text(before) if before == after else f"{count_text(before)} → {count_text(after)}"


def layered(graph: nx.DiGraph) -> tuple[dict[int, Place], dict[Edge, list[Place]]]:
    """Places of the nodes, as (column, row), and of the points that each edge passes on its way.

    Where edges pass very many rows, the longest have no route; `drawn` draws them aside.
    """
    try:
        from fast_sugiyama import from_edges
    except ImportError:
        return _in_rows(graph), {}
    places: dict[int, Place] = {}
    routes: dict[Edge, list[Place]] = {}
    left = 0.0
    chosen = _routed(graph)
    components = from_edges(chosen, vertex_spacing=1, dummy_vertices=True) if chosen else ()
    for found, width, height, links in components:
        here = {node: (left + x, round(height - y)) for node, (x, y) in found}
        places |= {node: place for node, place in here.items() if node in graph}
        onward = {start: end for start, end in links if start not in graph}
        for start, step in links:
            if start in graph:
                end, passed = _followed(step, onward)
                routes[start, end] = [here[node] for node in passed]
        left += width + 1
    # layers of which all that follows stands under them are joined to nothing, and each has a column
    alone = [node for node in graph if node not in places]
    return places | {node: (left + column, 0) for column, node in enumerate(alone)}, routes


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

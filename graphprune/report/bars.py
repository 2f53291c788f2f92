"""What the script draws of a network: one row per bar, and the corners of every line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import networkx as nx

from graphprune.report.formats import count_text
from graphprune.report.layout import Box, Layout

__all__ = ["drawn"]

Row = dict[str, Any]

LETTER = 6.3  # pixels of one in a label


def drawn(network: nx.DiGraph, layout: Layout) -> Row:
    """Rows ``bars`` and ``lines``, and the size of the picture."""
    bars = [
        _bar(number, network.nodes[number], box, layout.column if box.host == number else 0)
        for number, box in sorted(layout.boxes.items())
    ]
    lines = [
        {"edge": f"{start}-{end}", "start": start, "place": place, "x": x, "y": y}
        for (start, end), corners in layout.lines.items()
        for place, (x, y) in enumerate(corners)
    ]
    return {
        "bars": bars,
        "lines": lines,
        "width": layout.width,
        "height": layout.height,
        "column": layout.column,
    }


def _bar(number: int, node: Mapping[str, Any], box: Box, room: float) -> Row:
    """One bar, with a label if there is ``room`` for one."""
    before, after = node["width"]
    widths = f"{before} → {after}" if after != before else str(before) if before else ""
    name = node["name"] or node["kind"]
    old, new = (max(width, 6.0) / 2 for width in (box.before, box.after))
    return {
        "id": number,
        "name": name,
        "kind": node["kind"],
        "widths": widths or "–",
        "params": _change(node["params"]),
        "macs": _change(node["macs"]),
        "description": f"{name}, {node['kind']}, width {widths or 'none'}",
        "label": _label(node, widths, int(room / LETTER) - 3) if room else "",
        "centre": box.centre,
        "before": before,
        "b0": box.centre - old,
        "b1": box.centre + old,
        "a0": box.centre - new,
        "a1": box.centre + new,
        "top": box.top,
        "bottom": box.bottom,
    }


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

"""What the page shows: texts for its template, and data for its pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

import networkx as nx

from graphprune.report.formats import (
    bytes_text,
    count_text,
    error_text,
    figure_text,
    milliseconds_text,
    share_text,
)
from graphprune.report.layout import Layout, lay_out

__all__ = ["content"]

Report = Mapping[str, Any]
Row = dict[str, Any]

FILTERS = {"count": count_text, "percent": share_text, "error": error_text}
LONGEST = 34  # letters of a label; the end of a name says more than its beginning
COSTS = (
    ("MACs", "macs", count_text),
    ("Parameters", "params", count_text),
    ("ONNX file", "onnx_bytes", bytes_text),
)


def content(
    report: Report, title: str, units: Mapping[str, Any], sensitivity: Report | None
) -> tuple[Row, Row]:
    """Variables of the template, and the document that the script reads; see `page.render`."""
    shrunk = "after" in report
    network = _network(report)
    layers = [{"id": number, **data} for number, data in network.nodes(data=True)]
    groups = [
        {"name": name, "units": _units(units.get(name)), **row} for name, row in report["groups"].items()
    ]
    curves = [*_sensitivity(sensitivity), *_rounds(report.get("rounds"))]
    latency = _latency(report.get("latency", {}).get("layers"), layers)
    shown = {
        "title": title,
        "subtitle": _subtitle(report),
        "shrunk": shrunk,
        "verdict": report.get("verdict"),
        "tiles": list(_tiles(report) if shrunk else _sizes(report)),
        "command": report.get("source", {}).get("command"),
        "replay": "graphprune shrink … --plan plan.json replays the same choice, unit by unit."
        if shrunk
        else "",
        "request": {name: _plain(value) for name, value in report.get("request", {}).items()},
        "groups": groups,
        "pins": report["pins"],
        "scored": any("scores" in group for group in groups),
        "importance": report.get("request", {}).get("importance", ""),
        "latency_by_layer": bool(latency),
        "latency_note": report.get("latency", {}).get("layers_note", ""),
        "curves": curves,
        "notes": [*report.get("source", {}).get("notes", ()), *report.get("notes", ())],
        "versions": ", ".join(f"{name} {number}" for name, number in report.get("versions", {}).items()),
        "filters": FILTERS,
    }
    data = {
        "shrunk": shrunk,
        "layers": layers,
        "groups": groups,
        "curves": curves,
        "latency": latency,
        **_drawn(network, lay_out(network)),
    }
    return shown, data


def _network(report: Report) -> nx.DiGraph:
    network = nx.DiGraph()
    network.add_nodes_from(enumerate(report["layers"]))
    network.add_edges_from(map(tuple, report["edges"]))
    return network


def _subtitle(report: Report) -> str:
    if "after" not in report:
        return "What hangs together in this model, what can be removed, and what cannot and why."
    shares = (
        (report["after"][key], report["before"][key], what)
        for key, what in (("macs", "of the multiply-accumulates"), ("params", "of the parameters"))
    )
    return ", ".join(f"{share_text(new / old)} {what}" for new, old, what in shares if old) + " are left."


def _tiles(report: Report) -> Iterable[Row]:
    """The headline: what it cost before, what it costs now."""
    before, after = report["before"], report["after"]
    for label, key, text in COSTS:
        if after.get(key) is not None:
            yield _tile(label, before.get(key), after[key], text)
    if timed := report.get("latency"):
        tile = _tile("Latency, onnxruntime", timed["original_ms"], timed["slim_ms"], milliseconds_text)
        yield {
            **tile,
            "note": f"batch {timed['batch']}, {timed['threads']} thread(s), {1 / timed['ratio']:.2f} × the speed",
        }
    figures = report.get("evaluation") or {}
    for name, old in figures.get("before", {}).items():
        new = figures.get("after", {}).get(name)
        yield {
            "label": name,
            "before": figure_text(old),
            "now": figure_text(new),
            "share": None,
            "note": "measured on data",
        }


def _tile(label: str, before: float | None, after: float, text: Any) -> Row:
    share = after / before if before else None
    gone = (
        f"{share_text(abs(1 - share))} {'less' if share <= 1 else 'more'}"
        if share is not None
        else "of the slim model"
    )
    return {
        "label": label,
        "before": text(before) if before is not None else "",
        "now": text(after),
        "share": share,
        "width": round(100 * min(share, 1), 2) if share is not None else 100,
        "note": gone,
    }


def _sizes(report: Report) -> Iterable[Row]:
    """The headline of a model that was only inspected."""
    for label, key in (("MACs", "macs"), ("Parameters", "params")):
        reach = report["reachable"][key]
        note = f"{share_text(reach)} in reach of some group"
        yield {
            "label": label,
            "before": "",
            "now": count_text(report[key]),
            "share": reach,
            "width": 100 * reach,
            "note": note,
        }
    least = report["smallest"]["params"] / max(report["params"], 1)
    note = f"one unit in each leaves {share_text(least)} of the parameters"
    yield {
        "label": "Coupled groups",
        "before": "",
        "now": str(len(report["groups"])),
        "share": None,
        "note": note,
    }


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items()) or "–"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    return value if isinstance(value, str) else json.dumps(value)


def _units(kept: Any) -> str:
    """Kept units as ranges; of a fibred group, row by row.

    >>> _units([0, 1, 2, 5]), _units([[0, 1], [1, 3]]), _units(None)
    ('0–2, 5', '0: 0–1; 1: 1, 3', '')
    """
    if kept and isinstance(kept[0], list):
        return "; ".join(f"{row}: {_units(units)}" for row, units in enumerate(kept))
    runs = [
        [number for _, number in run]
        for _, run in groupby(enumerate(kept or ()), lambda item: item[1] - item[0])
    ]
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _sensitivity(sensitivity: Report | None) -> Iterable[Row]:
    if not sensitivity:
        return
    points = [
        {"line": name, "x": share, "y": figure}
        for name, curve in sensitivity["groups"].items()
        for share, figure in curve
    ]
    note = "Each line is one group that alone loses this share of its units; point at one to see which."
    yield _chart("sensitivity", "Sensitivity", note, "share removed", sensitivity["metric"], points)


def _rounds(rounds: Any) -> Iterable[Row]:
    """``{"metric": name, "rounds": [{"before tuning": figure, "after tuning": figure}, ...]}``."""
    if not rounds:
        return
    points = [
        {"line": line, "x": place, "y": figure}
        for place, row in enumerate(rounds["rounds"], 1)
        for line, figure in row.items()
    ]
    yield _chart("rounds", "Round by round", "", "round", rounds["metric"], points)


def _chart(name: str, title: str, note: str, x: str, y: str, points: list[Row]) -> Row:
    return {"id": name, "title": title, "note": note, "x": x, "y": y, "points": points}


def _latency(milliseconds: Any, layers: Iterable[Row]) -> list[Row]:
    """One row per layer that was timed, in the network's order."""
    numbers = {layer["name"]: layer["id"] for layer in reversed(list(layers))}
    rows = [
        {"id": numbers.get(name, len(numbers)), "name": name, "before": before, "after": after}
        for name, (before, after) in (milliseconds or {}).items()
    ]
    return sorted(rows, key=lambda row: row["id"])


def _drawn(network: nx.DiGraph, layout: Layout) -> Row:
    bars = [
        _bar(number, network.nodes[number], box, box.host == number)
        for number, box in sorted(layout.boxes.items())
    ]
    flowing = {
        number: [group for group, role in roles.items() if role != "consumes"]
        for number, roles in network.nodes(data="roles")
    }
    lines = [
        {"edge": f"{start}-{end}", "groups": flowing[start], "place": place, "x": x, "y": y}
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


def _bar(number: int, node: Mapping[str, Any], box: Any, labelled: bool) -> Row:
    before, after = node["width"]
    widths = f"{before} → {after}" if after != before else str(before) if before else ""
    name = node["name"] or node["kind"]
    short = name if len(name) <= LONGEST else f"…{name[-LONGEST + 1 :]}"
    if not node["tensors"] and node["kind"] not in ("input", "output"):
        short = node["kind"]
    old, new = (max(width, 6.0) / 2 for width in (box.before, box.after))
    return {
        "id": number,
        "name": name,
        "kind": node["kind"],
        "widths": widths or "–",
        "params": _change(node["params"]),
        "macs": _change(node["macs"]),
        "description": f"{name}, {node['kind']}, width {widths or 'none'}",
        "label": " ".join(filter(None, (short, widths if node["tensors"] else ""))) if labelled else "",
        "centre": box.centre,
        "before": before,
        "b0": box.centre - old,
        "b1": box.centre + old,
        "a0": box.centre - new,
        "a1": box.centre + new,
        "top": box.top,
        "bottom": box.bottom,
    }


def _change(pair: list[int]) -> str:
    before, after = pair
    return count_text(before) if before == after else f"{count_text(before)} → {count_text(after)}"

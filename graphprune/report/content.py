"""What a page shows of a report, made from its dictionary alone: texts for the template, rows for the script."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

import networkx as nx

from graphprune.asking.record import as_call
from graphprune.report.answers import answers, asked, warning
from graphprune.report.formats import (
    COSTS,
    count_text,
    error_text,
    share_text,
)
from graphprune.report.layout import drawn
from graphprune.report.sizes import listed, size_lines
from graphprune.report.tiles import size_tiles, tiles
from graphprune.report.tradeoff import budget_text, charts, table_rows

__all__ = ["content", "sweep_content"]

Report = Mapping[str, Any]
Row = dict[str, Any]


def sweep_content(sweep: Report) -> tuple[Row, Row]:
    """Variables of a sweep's template, and the document that the script reads."""
    source = sweep.get("source", {})
    met = sum("refused" not in point for point in sweep["points"])
    some = "all" if met == len(sweep["points"]) else f"{met} of"
    shown = {
        "title": str(source.get("model", sweep["name"])),
        "subtitle": f"A sweep of {sweep['kind']}: {some} {len(sweep['points'])} budgets are met.",
        "recipe": str(source.get("command", "")),
        "notes": [*source.get("notes", ()), *sweep["notes"]],
        "warning": sweep["warning"],
        "versions": _versions(sweep),
        **_tradeoff(sweep),
    }
    return shown, {"curves": shown["charts"]}


def _tradeoff(sweep: Report | None) -> Row:
    """What the table and the charts of a sweep show; nothing of a result that is of none."""
    if sweep is None:
        return {"sweep": None, "charts": []}
    titles, rows = table_rows(sweep)
    picked, met = sweep.get("picked"), [point for point in sweep["points"] if "refused" not in point]
    table = [
        {
            "budget": budget,
            "texts": texts,
            "refused": point.get("refused", ""),
            "page": "" if picked else point.get("folder", ""),
            "here": picked is not None and point["budget"] == picked,
            "knee": sweep["knee"] is not None and point["budget"] == sweep["knee"],
        }
        for point, (budget, *texts) in zip(sweep["points"], rows, strict=True)
    ]
    best = sweep["knee"] if sweep["knee"] is not None else met[-1]["budget"] if met else ""
    return {
        "sweep": sweep,
        "table": {"titles": titles, "rows": table},
        "charts": list(charts(sweep)),
        "pickable": budget_text(best),
    }


def _versions(report: Report) -> str:
    return ", ".join(f"{name} {number}" for name, number in report.get("versions", {}).items())


def content(
    report: Report, title: str, units: Mapping[str, Any], sensitivity: Report | None
) -> tuple[Row, Row]:
    """Variables of the template, and the document that the script reads; see `graphprune.report.page.render`."""
    network = nx.DiGraph()
    network.add_nodes_from(enumerate(report["layers"]))
    network.add_edges_from(map(tuple, report["edges"]))
    layers = [{"id": number, **data} for number, data in network.nodes(data=True)]
    latency, swept = report.get("latency", {}), _tradeoff(report.get("sweep"))
    data = {
        "shrunk": "after" in report,
        "layers": layers,
        "groups": [
            {"name": name, "units": _units(units.get(name)), **row} for name, row in report["groups"].items()
        ],
        "curves": [*swept["charts"], *_curves(sensitivity, report.get("loop"))],
        "latency": _layer_times(latency.get("layers"), layers),
        "repaired": _repaired(report.get("repair")),
        **drawn(network),
    }
    note = latency.get("layers_note", "")
    return {**_texts(report, title), **data, **swept, "latency_note": note}, data


def _texts(report: Report, title: str) -> Row:
    source = report.get("source", {})
    return {
        "title": title,
        "subtitle": _subtitle(report),
        "sizes": list(size_lines(report.get("dimensions", ()))),
        "asked": _asked(report),
        "answers": answers(report),
        "warning": warning(report),
        "verdict": report.get("verdict"),
        "repair": report.get("repair"),
        "tiles": list(tiles(report) if "after" in report else size_tiles(report)),
        "recipe": _recipe(report),
        "replay": _replay(report),
        "request": {name: _plain(value) for name, value in report.get("request", {}).items()},
        "pins": report["pins"],
        "scored": any("scores" in row for row in report["groups"].values()),
        "notes": [*source.get("notes", ()), *report.get("notes", ())],
        "versions": _versions(report),
    }


def _asked(report: Report) -> str:
    """The budgets and what is left of their costs; empty where there was none."""
    request = report.get("request", {})
    if "after" not in report or not asked(request):
        return ""
    left = []
    for kind in request["budget"]:
        old, new = report["before"].get(kind), report["after"].get(kind)
        if kind == "latency" and "latency" in report:
            left.append(f"{share_text(report['latency']['ratio'])} of the latency")
        elif old and new is not None:
            left.append(f"{share_text(new / old)} of the {COSTS[kind][0]}")
    return f"{asked(request)}{f': {listed(left)} are left' if left else ''}"


def _repaired(repair: Report | None) -> dict[str, list[list[str]]]:
    """Layer → what was repaired of it, and the error before and after; nothing where the plain cut was kept."""
    found: dict[str, list[list[str]]] = {}
    for step in repair["steps"] if repair and repair["kept"] else ():
        errors = (error_text(step[when]) for when in ("before", "after"))
        found.setdefault(step["layer"], []).append([step["kind"], *errors])
    return found


def _recipe(report: Report) -> str:
    """The command line that was given, or else the call of `graphprune.shrink` that the request amounts to."""
    if command := report.get("source", {}).get("command"):
        return str(command)
    return as_call(report["request"]) if "request" in report else ""


def _replay(report: Report) -> str:
    """What makes the same choice again, unit by unit, from the plan; nothing for a model that was only inspected."""
    if "after" not in report:
        return ""
    source = report.get("source", {})
    if "model" not in source:
        return 'graphprune.shrink(model, example_inputs, plan=Plan.from_json(Path("plan.json").read_text()))'
    words = ["graphprune", "shrink", source["model"], "--plan", "plan.json"]
    if source.get("weights") not in (None, "published", "factory"):
        words += ["--weights", source["weights"]]
    for shape in source.get("input_shapes", ()):
        words += ["--input-shape", ",".join(map(str, shape))]
    return shlex.join([*words, "--seed", str(source.get("seed", 0)), "--output", "again"])


def _subtitle(report: Report) -> str:
    if "after" not in report:
        return "What hangs together in this model, what can be removed, and what cannot and why."
    shares = (
        (report["after"][key], report["before"][key], what)
        for key, what in (("macs", "of the multiply-accumulates"), ("params", "of the parameters"))
    )
    return ", ".join(f"{share_text(new / old)} {what}" for new, old, what in shares if old) + " are left."


def _plain(value: Any) -> str:
    """A value of the request, numbers as people read them; of switches those that are on."""
    if isinstance(value, Mapping):
        texts = (
            name if item is True else f"{name} {_plain(item)}"
            for name, item in value.items()
            if item is not False
        )
        return ", ".join(texts) or "–"
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return count_text(value) if value >= 10**6 else str(value)
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


def _curves(sensitivity: Mapping[str, Any] | None, loop: Mapping[str, Any] | None) -> Iterator[Row]:
    """One chart for each that there is.

    Args:
        sensitivity: see `render`.
        loop: of a result that was made in rounds, see `graphprune.face.shrink_and_tune.Loop.to_dict`.
    """
    if sensitivity:
        whole = sensitivity.get("baseline")
        start = [] if whole is None else [[0.0, whole]]
        yield {
            "id": "sensitivity",
            "spec": "sensitivity",
            "title": "Sensitivity",
            "note": "Each line is one group that alone loses this share of its units; point at one to see which.",
            "x": "share removed",
            "y": sensitivity["metric"],
            "points": [
                {"line": name, "x": share, "y": figure}
                for name, curve in sensitivity["groups"].items()
                for share, figure in [*start, *curve]
            ],
        }
    points = [
        {"line": line, "x": row["number"], "y": row[figure]}
        for row in (loop or {}).get("rounds", ())
        for line, figure in (("before tuning", "before"), ("after tuning", "metric"))
        if row[figure] is not None
    ]
    if points:
        yield {
            "id": "rounds",
            "spec": "rounds",
            "title": "Round by round",
            "note": "",
            "x": "round",
            "y": "evaluation",
            "points": points,
        }


def _layer_times(milliseconds: Mapping[str, Any] | None, layers: Iterable[Mapping[str, Any]]) -> list[Row]:
    """One row per layer that was timed, ``{layer: [before, after]}``, in that order; ``id`` where it is drawn."""
    numbers = {layer["name"]: layer["id"] for layer in reversed(list(layers)) if layer["name"]}
    return [
        {"id": numbers.get(name), "place": place, "name": name, "before": before, "after": after}
        for place, (name, (before, after)) in enumerate((milliseconds or {}).items())
    ]

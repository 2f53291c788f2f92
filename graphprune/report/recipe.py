"""How a result was asked for, as a command or a call that asks for it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

__all__ = ["recipe", "replay"]

Report = Mapping[str, Any]

DEFAULTS = {
    "importance": "l2",
    "align": "auto",
    "min_keep": 1,
    "protect": [],
    "max_ratio": 1.0,
    "ratios": {},
    "ranking": "global",
    "seed": 0,
    "lossless": False,
    "outputs": [],
    "threads": 1,
    "batch": 1,
}


def recipe(report: Report) -> str:
    """The command line that was given, or else the call of `graphprune.shrink` that the request amounts to.

    >>> recipe({"request": {"budget": {"macs": 0.5}, "importance": "l1", "align": 8, "seed": 0, "calibration": "list"}})
    "graphprune.shrink(model, example_inputs, macs=0.5, importance='l1', align=8, calibration=...)"
    """
    if command := report.get("source", {}).get("command"):
        return str(command)
    request = report.get("request")
    if request is None:
        return ""
    words = [f"{name}={value!r}" for name, value in request.get("budget", {}).items()]
    words += [
        f"{name}={request[name]!r}"
        for name, default in DEFAULTS.items()
        if request.get(name, default) != default
    ]
    words += [f"{name}=..." for name in ("calibration", "loss") if request.get(name)]
    return f"graphprune.shrink(model, example_inputs, {', '.join(words)})"


def replay(report: Report) -> str:
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

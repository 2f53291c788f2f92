"""How a result was asked for, as a command or a call that asks for it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from graphprune.asking.record import as_call

__all__ = ["recipe", "replay"]

Report = Mapping[str, Any]


def recipe(report: Report) -> str:
    """The command line that was given, or else the call of `graphprune.shrink` that the request amounts to."""
    if command := report.get("source", {}).get("command"):
        return str(command)
    return as_call(report["request"]) if "request" in report else ""


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

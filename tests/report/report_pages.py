"""Reports of models with random weights, made without rewriting, verifying or exporting anything."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

import graphprune as gp
from graphprune.planning import Budget, Constraints, choose, find_limits, make_plan
from graphprune.report.facts import network_facts
from graphprune.report.page import render
from graphprune.scoring import find_importance
from models_zoo.sources import torchvision_model

__all__ = ["Page", "page_of", "report_of"]


@dataclass(frozen=True)
class Page:
    graph: gp.DependencyGraph
    report: dict[str, Any]
    html: str


def report_of(graph: gp.DependencyGraph) -> tuple[dict[str, Any], gp.Plan]:
    """Half of the multiply-accumulates, by magnitude."""
    scores = find_importance("l2", None, None)(graph, graph.program.tensors, 0)
    limits = find_limits(graph, Constraints(align=4))
    plan = make_plan(graph, choose(graph, scores, Budget("macs", 0.5), limits, "global"))
    sizes = {name: kept.shape[-1] for name, kept in plan.groups.items()}
    before, after = graph.cost(), graph.cost(sizes)
    report = {
        "before": {"macs": before.macs, "params": before.params, "onnx_bytes": 4 * before.params},
        "after": {"macs": after.macs, "params": after.params, "onnx_bytes": 4 * after.params},
        "latency": {"batch": 1, "threads": 1, "original_ms": 30.0, "slim_ms": 20.0, "ratio": 0.667},
        "request": {"budget": {"macs": 0.5}, "importance": "l2", "align": 4},
        "verdict": {
            "passed": True,
            "checks": [
                {"name": "every node", "passed": True, "figure": 1e-16, "limit": 1e-10, "detail": "of all"}
            ],
        },
        **network_facts(graph, plan.groups, scores),
    }
    return report, plan


@cache
def page_of(name: str) -> Page:
    """The page of a model of torchvision."""
    torch.manual_seed(0)
    model, _, _ = torchvision_model(name, pretrained=False)
    graph = gp.trace(model.eval(), torch.zeros(2, 3, 224, 224))
    report, plan = report_of(graph)
    units = {group: kept.tolist() for group, kept in plan.groups.items()}
    return Page(graph, report, render(report, name, units))

"""``not_slower``: wider multiples where the slim model is slower than the original, and the same plan at both doors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.searching import latency


@pytest.fixture(scope="module")
def graph() -> gp.DependencyGraph:
    torch.manual_seed(0)
    return gp.trace(nn.Sequential(nn.Linear(16, 96), nn.ReLU(), nn.Linear(96, 4)), torch.randn(2, 16))


@pytest.mark.parametrize(
    ("times", "multiple"),
    [
        ({1: 0.9, 2: 0.8, 4: 0.7}, 1),
        ({1: 1.01, 2: 0.8, 4: 0.7}, 1),
        ({1: 1.3, 2: 1.0, 4: 0.7}, 2),
        ({1: 1.3, 2: 1.2, 4: 0.7}, 4),
        ({1: 1.3, 2: 1.1, 4: 1.2}, 2),
    ],
    ids=["fast", "within noise", "at twice", "at four times", "never: the fastest"],
)
def test_the_smallest_multiples_that_are_not_slower(
    graph: gp.DependencyGraph, monkeypatch: pytest.MonkeyPatch, times: dict[int, float], multiple: int
) -> None:
    tried: list[int] = []

    def timed(prepared: Any, plan: gp.Plan, clock: Any) -> Any:
        tried.append(plan.request["multiples"]["linear"])
        return SimpleNamespace(ratio=times[tried[-1]])

    monkeypatch.setattr(latency, "run_time", timed)
    for made in (gp.plan(graph, macs=0.5, not_slower=True), gp.shrink(graph, macs=0.5, not_slower=True)):
        assert made.plan.request["multiples"]["linear"] == multiple
        assert made.plan.request["not_slower"] is True
        assert all(len(kept) % multiple == 0 for kept in made.plan.groups.values())
    assert tried[: len(tried) // 2] == [times for times in (1, 2, 4) if times <= max(tried)]


def test_it_is_really_timed(graph: gp.DependencyGraph) -> None:
    result = gp.shrink(graph, macs=0.5, not_slower=True)
    assert result.profile is not None
    assert {"export a candidate", "time a candidate"} <= set(result.seconds)

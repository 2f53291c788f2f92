"""Every budget is met, and the verdict says so with the figure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.asking.request import Request
from graphprune.axes.kinds import KINDS
from graphprune.ground.clock import Clock
from graphprune.planning import make_plan
from graphprune.profiling import widths
from graphprune.searching import meet
from graphprune.searching.met import budgets_met
from graphprune.searching.prepared import prepare


@pytest.fixture(scope="module")
def graph() -> gp.DependencyGraph:
    """Three convolutions, 64 wide."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs in (3, 64, 64):
        layers += [nn.Conv2d(inputs, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return gp.trace(model, torch.randn(2, 3, 16, 16))


@pytest.fixture
def liked() -> Iterator[None]:
    """A runtime that likes wide multiples."""
    widths.store({**dict.fromkeys(KINDS, 16), "attention": 1})
    yield
    widths.store(dict.fromkeys(KINDS, 1))


def check_of(result: gp.Result, kind: str) -> gp.Check:
    (found,) = [check for check in result.verdict.checks if check.name == f"{kind} budget is met"]
    return found


@pytest.mark.parametrize("rounds", [1, 2, 3, 5])
@pytest.mark.parametrize("share", [0.2, 0.3, 0.5, 0.8])
def test_rounds_do_not_overshoot_with_liked_widths(
    graph: gp.DependencyGraph, liked: None, share: float, rounds: int
) -> None:
    result = gp.shrink(graph, macs=share, rounds=rounds, align="auto")
    check = check_of(result, "macs")
    assert check.passed
    assert check.figure == pytest.approx(result.after.macs / result.before.macs / share)
    assert check.figure <= 1.0001
    assert check.figure >= 0.99 or check.detail


def test_training_between_rounds_meets_the_budget_too(graph: gp.DependencyGraph, liked: None) -> None:
    batches = [torch.randn(4, 3, 16, 16)]
    settings = gp.Tuning(epochs=1, steps=1)
    loop = gp.shrink_and_tune(graph, None, batches, settings, rounds=2, macs=0.3)
    assert 0.99 * 0.3 <= loop.result.after.macs / loop.result.before.macs <= 0.3
    assert check_of(loop.result, "macs").passed


@pytest.mark.parametrize(
    ("options", "kind", "reason"),
    [
        ({"macs": 0.9, "params": 0.3}, "macs", "since the params budget asks for less"),
        ({"macs": 0.9, "align": 32}, "macs", "since any group that were a step wider would go above"),
        ({"macs": 0.9, "ratios": {"3*": 0.8}}, "macs", "since the ratios of layers remove more"),
    ],
)
def test_what_stays_below_says_why(
    graph: gp.DependencyGraph, options: dict[str, Any], kind: str, reason: str
) -> None:
    check = check_of(gp.shrink(graph, **{"align": 1, **options}), kind)
    assert check.passed
    assert check.figure < 0.99
    assert reason in check.detail


def test_a_ratio_says_what_held_it(graph: gp.DependencyGraph) -> None:
    plain, held = (
        gp.shrink(graph, ratio=0.5, **more).verdict.checks[-1] for more in ({}, {"protect": ["0"]})
    )
    assert (plain.name, plain.passed, plain.detail) == ("ratio is met", True, "")
    assert held.detail == "1 groups lose less: align, min_keep, max_ratio or protect hold them"


@pytest.mark.parametrize(
    ("options", "units"), [({"macs": 0.3}, 40), ({"ratio": 0.5}, 20), ({"params": 0.2, "macs": 0.9}, 60)]
)
def test_a_plan_that_misses_its_budget_fails(
    graph: gp.DependencyGraph, options: dict[str, Any], units: int
) -> None:
    """The check can fail: a plan that keeps too much, or for a ratio too little."""
    prepared = prepare(graph, Request(**options, align=1), Clock())
    plan = make_plan(graph, {group.name: torch.arange(units) for group in graph.groups})
    assert not all(check.passed for check in budgets_met(prepared, plan))


def test_a_missed_budget_is_not_blamed_on_a_rule(
    graph: gp.DependencyGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    missed = gp.Check("macs budget is met", False, 1.5, 1.01)
    monkeypatch.setattr(meet, "budgets_met", lambda prepared, plan: [missed])
    with pytest.raises(gp.VerificationError, match="macs budget is met: FAILED") as caught:
        gp.shrink(graph, macs=0.5, align=1)
    assert "a rule is wrong" not in str(caught.value)
    assert caught.value.remedy == "nothing was written; report the model and the options"

"""Budgets of several costs at once, amounts with units, and the search over any monotone cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from planning_models import network, transformer
from torch import nn

import graphprune as gp
from graphprune.axes.terms import Atom
from graphprune.planning import RANKINGS, Budget, Constraints, Target, choose, find_limits
from graphprune.scoring import find_importance

GRAPHS = {"network": network, "transformer": transformer}


@pytest.mark.parametrize(
    ("kind", "given", "value", "absolute"),
    [
        ("macs", 0.5, 0.5, False),
        ("params", "0.25", 0.25, False),
        ("macs", "300M", 3e8, True),
        ("params", "5.5 k", 5500, True),
        ("onnx_bytes", 1_000_000, 1e6, True),
        ("onnx_bytes", "12MB", 1.2e7, True),
        ("memory", "64kB", 64_000, True),
        ("latency", "4ms", 4, True),
        ("latency", ".5s", 500, True),
    ],
)
def test_shares_and_amounts(kind: str, given: Any, value: float, absolute: bool) -> None:
    budget = Budget.parse(kind, given)
    assert budget == Budget(kind, value, absolute)
    assert Budget.parse(kind, budget.request) == budget


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("macs", 1.5, "macs=1.5 is out of range"),
        ("macs", 2, "macs=2.0 is out of range"),
        ("latency", 3, "latency=3.0 is out of range"),
        ("latency", "4kB", "latency='4kB' is not understood — give a share between 0 and 1, or .* 1ms, 1s"),
        ("memory", "half", "memory='half' is not understood"),
        ("onnx_bytes", "0MB", "onnx_bytes=0.0 is out of range"),
        ("onnx_bytes", -5, "out of range"),
        ("ratio", "half", "ratio='half' is not understood"),
    ],
)
def test_what_is_neither_is_refused(kind: str, given: Any, message: str) -> None:
    with pytest.raises(gp.InputError, match=message):
        Budget.parse(kind, given)


def shares(graph: gp.DependencyGraph, **options: Any) -> dict[str, float]:
    proposal = gp.plan(graph, **options)
    return {kind: proposal.after[kind] / full for kind, full in proposal.before.items()}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize(
    "asked",
    [{"macs": 0.5, "params": 0.6}, {"macs": 0.6, "params": 0.3}, {"params": 0.5, "memory": 0.4}],
    ids=str,
)
def test_all_budgets_hold_and_one_binds(name: str, asked: dict[str, float]) -> None:
    reached = shares(GRAPHS[name](), **asked)
    assert all(reached[kind] <= value for kind, value in asked.items())
    assert any(reached[kind] >= value * 0.98 for kind, value in asked.items())


def test_an_amount_is_the_share_of_the_same_size() -> None:
    graph = network()
    half = f"{graph.cost().macs / 2e6}M"
    one, other = (gp.plan(graph, macs=macs).plan.groups for macs in (0.5, half))
    assert all(torch.equal(kept, other[name]) for name, kept in one.items())


def test_an_amount_out_of_reach_gives_the_smallest() -> None:
    with pytest.raises(gp.BudgetError, match=r"memory=1B cannot be reached: .* smallest model takes \d+B"):
        gp.plan(network(), memory="1B")


@dataclass(frozen=True)
class SumOfRoots:
    """Nothing like a polynomial, but it grows with every size."""

    full: Mapping[Atom, int]

    def value(self, sizes: Mapping[Atom, int]) -> float:
        return float(sum({**self.full, **sizes}[atom] ** 0.5 for atom in self.full))

    def change(self, sizes: Mapping[Atom, int], to: Mapping[Atom, int]) -> float:
        return self.value({**sizes, **to}) - self.value(sizes)


@pytest.mark.parametrize("ranking", RANKINGS)
def test_any_cost_that_never_falls_will_do(ranking: str) -> None:
    graph = network()
    cost = SumOfRoots({group.atom: group.size for group in graph.groups})
    scores = find_importance("l2")(graph, graph.program.tensors, 0)
    targets = [Target(Budget("latency", 0.7), cost), Target(Budget("macs", 0.9), graph.macs)]
    kept = choose(graph, scores, targets, find_limits(graph, Constraints()), ranking)
    sizes = {graph.by_name[name].atom: int(mask.sum()) for name, mask in kept.items()}
    assert 0.68 <= cost.value(sizes) / cost.value({}) <= 0.7


# -- peak memory --------------------------------------------------------------------------------------------
def test_peak_memory_counts_what_is_alive() -> None:
    model = nn.Sequential(nn.Linear(10, 30), nn.ReLU(), nn.Flatten(), nn.Linear(30, 4))
    graph = gp.trace(model, torch.zeros(1, 10))
    assert graph.memory.value({}) == 4 * (30 + 30)  # before and after the ReLU; flatten is a view
    (group,) = graph.groups
    assert graph.memory.value({group.atom: 6}) == 4 * (6 + 10)  # the input and what is made of it


def test_a_value_that_is_used_later_stays() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(8, 20), nn.Linear(20, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.down(self.up(x))

    assert gp.trace(Skip(), torch.zeros(3, 8)).memory.value({}) == 4 * (8 + 20 + 8)


@pytest.mark.parametrize("name", GRAPHS)
def test_the_slim_model_needs_the_memory_that_was_planned(name: str) -> None:
    graph = GRAPHS[name]()
    result = gp.shrink(graph, memory=0.55)
    sizes = {graph.by_name[name].atom: kept.shape[-1] for name, kept in result.plan.groups.items()}
    predicted = graph.memory.value(sizes)
    assert 0.5 <= predicted / graph.memory.value({}) <= 0.55
    args, kwargs = graph.program.example
    assert gp.trace(result.model, (args, kwargs)).memory.value({}) == predicted

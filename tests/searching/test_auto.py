"""importance="auto": the nearest to the original of several choices, with and without a repair."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.asking.request import CHOICES, Request
from graphprune.searching import auto

sys.path.insert(0, str(Path(__file__).parents[1] / "planning"))
from planning_models import network, transformer

IMAGES = [torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
TOKENS = [torch.randn(4, 7, 6, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]


def off(result: gp.Result, batches: list[Tensor]) -> float:
    """The squared distance of the outputs, over the original's square."""
    original = copy.deepcopy(result.graph.program.model).eval()
    with torch.no_grad():
        pairs = [(result.model(batch), original(batch)) for batch in batches]
    error = sum(float((one - two).double().square().sum()) for one, two in pairs)
    return error / sum(float(two.double().square().sum()) for _, two in pairs)


@pytest.mark.parametrize("repair", [True, False])
@pytest.mark.parametrize(("graph", "batches"), [(network(), IMAGES), (transformer(), TOKENS)])
def test_the_nearest_on_batches_that_a_choice_has_not_seen(
    graph: gp.DependencyGraph, batches: list[Tensor], repair: bool
) -> None:
    options: dict[str, Any] = {"macs": 0.6, "repair": repair, "align": 1}
    result = gp.shrink(graph, **options, importance="auto", calibration=iter(batches))
    tried = result.plan.request["tried"]
    assert list(tried) == [f"{name}, {ranking}" for name, ranking in CHOICES]
    best = min(tried, key=tried.get)
    name, ranking = best.split(", ")
    assert (result.plan.request["importance"], result.plan.request["ranking"]) == (name, ranking)
    # each figure is what that choice comes to by itself, made from one part of the batches and judged on the other
    for criterion, order in (CHOICES[0], CHOICES[3]):
        data = {"calibration": batches[::2]} if repair or criterion.startswith("refit") else {}
        one = gp.shrink(graph, **options, **data, importance=criterion, ranking=order)
        assert off(one, batches[1::2]) == pytest.approx(tried[f"{criterion}, {order}"], rel=1e-4)
    assert len({round(value, 9) for value in tried.values()}) > 2
    # what is taken is made from all of them
    data = {"calibration": batches} if repair or name.startswith(("refit", "fisher")) else {}
    again = gp.shrink(graph, **options, **data, importance=name, ranking=ranking)
    assert {key: kept.tolist() for key, kept in again.plan.groups.items()} == {
        key: kept.tolist() for key, kept in result.plan.groups.items()
    }
    assert off(again, batches) == pytest.approx(off(result, batches), rel=1e-6)


def test_one_batch_is_both_seen_and_judged_on() -> None:
    graph = network()
    result = gp.shrink(graph, macs=0.6, importance="auto", calibration=IMAGES[0], repair=True, align=1)
    tried = result.plan.request["tried"]
    assert off(result, IMAGES[:1]) == pytest.approx(min(tried.values()), rel=1e-4)


def test_rounds_and_other_budgets_go_with_it() -> None:
    result = gp.shrink(
        transformer(), params=0.5, importance="auto", calibration=TOKENS, rounds=2, repair=True
    )
    assert result.plan.request["rounds"] == 2
    assert result.after.params <= 0.5 * result.before.params
    assert len(result.plan.request["tried"]) == len(CHOICES)
    proposal = gp.plan(transformer(), params=0.5, importance="auto", calibration=TOKENS)
    assert set(proposal.plan.request["tried"]) == set(result.plan.request["tried"])


def test_refusals() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.randn(3, 4)
    with pytest.raises(gp.InputError, match="fast looks at no data"):
        gp.shrink(model, x, macs=0.5, fast=True, calibration=x)
    with pytest.raises(gp.InputError, match="fast looks at no data"):
        gp.shrink(model, x, macs=0.5, fast=True, loss=torch.mean)
    with pytest.raises(
        gp.InputError, match="fast chooses by weights alone, and importance='l1' says otherwise"
    ):
        gp.shrink(model, x, macs=0.5, fast=True, importance="l1")
    with pytest.raises(gp.BudgetError):
        gp.shrink(model, x, macs=0.001, importance="auto", calibration=x)


def test_choices_that_only_rounding_sets_apart_are_taken_in_order() -> None:
    """A repair can make several choices exact; which is nearest by a bit depends on the machine."""
    first, second, third = (Request(macs=share) for share in (0.5, 0.6, 0.7))
    assert auto._first_of_the_best([(3e-15, first), (1e-15, second), (2e-3, third)]) is first
    assert auto._first_of_the_best([(2e-3, first), (1e-3, second), (1e-3 + 1e-10, third)]) is second

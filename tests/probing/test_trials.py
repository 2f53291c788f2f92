"""Trials: the balance between groups is tuned by what the outputs suffer, under the same budget."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.searching.trials import balanced

sys.path.insert(0, str(Path(__file__).parents[1] / "planning"))
from planning_models import network, transformer

IMAGES, TOKENS = torch.randn(6, 3, 16, 16), torch.randn(4, 7, 6)


def error(graph: gp.DependencyGraph, slim: nn.Module, x: Tensor) -> float:
    model = copy.deepcopy(graph.program.model).eval()
    with torch.no_grad():
        own = model(x)
        return float((slim(x) - own).norm() / own.norm())


@pytest.mark.parametrize(
    ("graph", "x"), [(network(), IMAGES), (transformer(), TOKENS)], ids=["network", "transformer"]
)
def test_less_harm_under_the_same_budget(graph: gp.DependencyGraph, x: Tensor) -> None:
    plain, tuned = (
        gp.shrink(graph, macs=0.5, calibration=x if count else None, trials=count) for count in (0, 25)
    )
    assert tuned.verdict.passed
    assert 0.48 <= tuned.after.macs / tuned.before.macs <= 0.5
    assert error(graph, tuned.model, x) < 0.95 * error(graph, plain.model, x)
    assert tuned.plan.request["trials"] == 25


def test_units_within_a_group_go_in_the_criterions_order() -> None:
    result = gp.shrink(network(), macs=0.5, calibration=IMAGES, trials=10, importance="l1")
    scores = gp.Criterion("l1")(network(), network().program.tensors, 0)
    for name, kept in result.plan.groups.items():
        best = scores[name].argsort(descending=True, stable=True)[: len(kept)].sort().values
        assert kept.tolist() == best.tolist()


def test_an_evaluation_and_rounds() -> None:
    calls = []

    def evaluate(model: nn.Module) -> float:
        calls.append(model)
        return -error(transformer(), model, TOKENS)

    options: dict[str, Any] = {"macs": 0.5, "importance": "taylor", "calibration": [TOKENS], "trials": 8}
    result = gp.shrink(transformer(), evaluate=evaluate, rounds=2, **options)
    assert result.verdict.passed
    assert 2 * 2 <= len(calls) <= 2 * 8 + 1


def test_a_plan_is_measured_once_and_trials_end() -> None:
    measured = []

    def choose(scores: Any) -> dict[str, Tensor]:
        first = scores["a"][0] > scores["b"][0]
        return {"a": torch.tensor([True, bool(first)]), "b": torch.tensor([True, not first])}

    def harm(kept: Any) -> float:
        measured.append(kept)
        return float(kept["a"].sum())

    scores = {"a": torch.tensor([2.0, 3.0]), "b": torch.tensor([1.0, 1.0]), "c": None}
    kept = balanced(scores, choose, harm, trials=50)
    assert kept["a"].tolist() == [True, False]
    assert len(measured) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"macs": 0.5, "trials": -1}, "trials=-1 is not a whole number"),
        ({"macs": 0.5, "evaluate": print}, "evaluate is given, and there are no trials"),
        ({"macs": 0.5, "trials": 5, "rounds": 2, "between": print}, "between changes them"),
        ({"lossless": True, "trials": 5}, "trials have no effect on lossless"),
        ({"macs": 0.5, "trials": 5, "importance": "l2::standard"}, "some are negative"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(gp.InputError) as caught:
        gp.shrink(transformer(), **options)
    assert message in str(caught.value)
    assert caught.value.remedy

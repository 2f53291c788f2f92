"""Pruning in rounds: the same budget, one plan of the original, fresh scores, and training in between."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp

sys.path.insert(0, str(Path(__file__).parents[1] / "planning"))
from planning_models import network, transformer

IMAGES, TOKENS = torch.randn(6, 3, 16, 16), torch.randn(4, 7, 6)


def kept(result: gp.Result) -> dict[str, list[Any]]:
    return {name: indices.tolist() for name, indices in result.plan.groups.items()}


@pytest.mark.parametrize("schedule", ["linear", "geometric", lambda passed: passed**0.5])
@pytest.mark.parametrize("graph", [network(), transformer()], ids=["network", "transformer"])
def test_the_budget_is_met_by_one_plan_of_the_original(graph: gp.DependencyGraph, schedule: Any) -> None:
    result = gp.shrink(graph, macs=0.5, importance="l1", rounds=4, schedule=schedule)
    assert result.verdict.passed
    assert 0.485 <= result.after.macs / result.before.macs <= 0.5
    assert result.plan.request["rounds"] == 4
    replayed = gp.shrink(graph, plan=gp.Plan.from_json(result.plan.to_json()))
    for name, tensor in result.model.state_dict().items():
        assert torch.equal(tensor, replayed.model.state_dict()[name])


def test_a_ratio_comes_to_the_same_widths() -> None:
    once, rounds = (gp.shrink(network(), ratio=0.5, rounds=count) for count in (1, 3))
    assert {name: len(one) for name, one in kept(once).items()} == {
        name: len(one) for name, one in kept(rounds).items()
    }


def test_scores_are_taken_anew_from_what_is_left() -> None:
    seen = []

    def importance(graph: gp.DependencyGraph, tensors: Any, seed: int) -> dict[str, Tensor]:
        seen.append({group.name: group.size for group in graph.groups})
        assert tensors["early.0.one.weight"].shape[:2] == (
            seen[-1]["early.0.one.weight:0"],
            seen[-1]["stem.weight:0"],
        )
        return {group.name: torch.arange(1.0, group.size + 1) for group in graph.groups}

    result = gp.shrink(network(), ratio=0.5, importance=importance, rounds=2)
    assert len(seen) == 2
    assert all(seen[1][name] < size for name, size in seen[0].items())
    # the first ones of what is left go, whatever they were called before
    for group in network().groups:
        assert result.plan.groups[group.name].tolist() == list(range(group.size // 2, group.size))


def test_a_choice_that_depends_on_what_has_gone() -> None:
    """Of two equal units either may go, not both: only fresh scores can tell."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        model[0].weight[1] = model[0].weight[0]
        model[0].bias[1] = model[0].bias[0]

    def novelty(graph: gp.DependencyGraph, tensors: Any, seed: int) -> dict[str, Tensor]:
        weight = tensors["0.weight"].detach()
        distance = torch.cdist(weight, weight) + 9 * torch.eye(len(weight))
        return {graph.groups[0].name: distance.amin(1)}

    once, rounds = (
        gp.shrink(model, torch.zeros(2, 5), ratio=1 / 3, importance=novelty, rounds=r) for r in (1, 2)
    )
    assert not {0, 1} & set(kept(once)["0.weight:0"])
    assert {0, 1} & set(kept(rounds)["0.weight:0"])


def test_training_between_rounds() -> None:
    results: list[gp.Result] = []

    def between(result: gp.Result) -> None:
        results.append(result)
        model = result.model.train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(2):
            optimizer.zero_grad()
            model(IMAGES).square().mean().backward()
            optimizer.step()

    result = gp.shrink(network(), macs=0.4, importance="l1", rounds=3, between=between)
    assert len(results) == 2
    assert all(one.verdict.passed and one.plan.model == result.plan.model for one in results)
    assert result.after.macs < results[1].after.macs < results[0].after.macs < result.before.macs
    names = [check.name for check in result.verdict.checks]
    assert "round 1: own parameters, every node" in names
    assert "round 2: own parameters, every node" in names
    assert "all rounds together, random parameters, every node" in names
    # the weights are those that were trained, of the units that the last round left
    before, after = results[1].model.state_dict(), result.model.state_dict()
    one, other = (r.plan.kept["early.0.norm.running_mean"][0] for r in (results[1], result))
    still = [one.tolist().index(index) for index in other.tolist()]
    assert torch.equal(before["early.0.norm.running_mean"][still], after["early.0.norm.running_mean"])
    untrained = network().program.tensors["early.0.norm.running_mean"][other]
    assert not torch.equal(untrained, after["early.0.norm.running_mean"])


def test_what_between_returns_counts() -> None:
    def between(result: gp.Result) -> nn.Module:
        model = copy.deepcopy(result.model)
        with torch.no_grad():
            model.head.bias.fill_(7.0)
        return model

    result = gp.shrink(transformer(), macs=0.6, rounds=2, between=between)
    assert result.model.head.bias.tolist() == [7.0] * 5
    with pytest.raises(gp.InputError, match=r"between returned a model whose .* is"):
        gp.shrink(transformer(), macs=0.6, rounds=2, between=lambda result: transformer().program.model)


def test_torch_prunings_criteria_see_the_slim_layers() -> None:
    import torch_pruning

    importance = torch_pruning.importance.GroupMagnitudeImportance()
    assert gp.shrink(network(), macs=0.6, importance=importance, rounds=2).verdict.passed


def test_data_is_walked_in_every_round() -> None:
    result = gp.shrink(transformer(), macs=0.5, importance="fisher", calibration=TOKENS, rounds=2)
    assert result.verdict.passed
    again = gp.shrink(transformer(), macs=0.5, importance="fisher", calibration=iter([TOKENS]), rounds=2)
    assert kept(again) == kept(result)


@pytest.mark.parametrize("graph", [network(), transformer()], ids=["network", "transformer"])
def test_every_round_is_repaired_before_it_is_trained(graph: gp.DependencyGraph) -> None:
    data, seen = [IMAGES if graph.by_name.get("stem.weight:0") else TOKENS] * 3, []
    options = {"macs": 0.5, "importance": "l1", "rounds": 3, "calibration": data, "repair": True}

    def between(result: gp.Result) -> None:
        assert result.repair is not None
        assert result.repair.after <= result.repair.before
        seen.append(copy.deepcopy(result.model.state_dict()))

    result = gp.shrink(graph, **options, between=between)
    assert len(seen) == 2
    names = [check.name for check in result.verdict.checks]
    near = "repaired outputs are no farther from the original"
    assert [name for name in names if name.endswith(near)] == [f"round 1: {near}", f"round 2: {near}", near]
    # nothing was trained, so this is what repair alone comes to, and only what is said to be repaired differs
    alone = gp.shrink(graph, **options).model.state_dict()
    cut = gp.shrink(graph, plan=result.plan).model.state_dict()
    for name, tensor in result.model.state_dict().items():
        assert torch.equal(tensor, alone[name])
        assert torch.equal(tensor, cut[name]) or name in result.repair.tensors
    # the second round started from the repaired weights of the first one, and not from the original's
    first = gp.shrink(graph, plan=result.plan, calibration=data, repair=True).model.state_dict()
    assert any(not torch.equal(tensor, alone[name]) for name, tensor in first.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"macs": 0.5, "between": print}, "between is given, and there is one round"),
        ({"lossless": True, "rounds": 2}, "rounds have no effect on lossless"),
        ({"latency": 0.5, "rounds": 2, "between": print}, "latency is measured before anything is trained"),
        ({"macs": 0.5, "rounds": 1.5}, "rounds=1.5 is not a positive whole number"),
        ({"macs": 0.01, "rounds": 2, "min_keep": 20}, "cannot be reached"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(gp.GraphpruneError) as caught:
        gp.shrink(network(), **options)
    assert message in str(caught.value)
    assert caught.value.remedy

"""Every criterion from `graphprune.shrink`: it runs, meets its budget, and is recorded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scoring_models import traced

import graphprune as gp
from graphprune.scoring import CRITERIA

NEEDS_DATA = [name for name, measure in CRITERIA.items() if measure.collect is not None]


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("name", ["residual", "attention"])
def test_every_criterion_shrinks(name: str, criterion: str) -> None:
    if criterion == "bn_scale" and name != "residual":
        pytest.skip("it has no batch norm")
    _, graph, x = traced(name)
    data = {"calibration": [x[:2], x[2:]]} if criterion in NEEDS_DATA else {}
    result = gp.shrink(graph, params=0.6, importance=criterion, **data)
    assert 0.4 < result.after.params / result.before.params <= 0.6
    request = result.plan.request
    assert request["importance"] == criterion
    assert request.get("calibration") == ("list" if data else None)
    assert gp.Plan.from_json(result.plan.to_json()).request == request


def test_options_and_data_are_recorded() -> None:
    _, graph, x = traced("residual")

    def energy(outputs: torch.Tensor) -> torch.Tensor:
        return outputs.square().sum()

    criterion = gp.Criterion("taylor", aggregate="mean", normalise="max", calibration=x, loss=energy)
    request = gp.shrink(graph, macs=0.5, importance=criterion).plan.request
    assert (request["importance"], request["calibration"], request["loss"]) == (
        "taylor:mean:max",
        "Tensor",
        "energy",
    )
    same = gp.shrink(graph, macs=0.5, importance="taylor:mean:max", calibration=x, loss=energy).plan
    assert same.request == request


def test_the_criterion_decides_which_units_stay() -> None:
    _, graph, x = traced("residual")
    kept = {
        name: gp.shrink(graph, ratio=0.5, importance=name, calibration=x if name in NEEDS_DATA else None).plan
        for name in ("l2", "cosine", "apoz", "taylor", "reconstruction")
    }
    texts = {name: str([g.tolist() for g in plan.groups.values()]) for name, plan in kept.items()}
    assert len(set(texts.values())) == len(texts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"importance": "taylor"},
            "importance 'taylor' looks at data, and there is none — give calibration batches",
        ),
        ({"importance": gp.Criterion("apoz")}, "importance 'apoz' looks at data, and there is none"),
        ({"importance": "l2", "calibration": torch.zeros(1, 3, 8, 8)}, "importance 'l2' looks at no data"),
        ({"importance": "l1::max", "loss": torch.sum}, "importance 'l1::max' looks at no data"),
        (
            {"importance": "wanda", "calibration": torch.zeros(1, 3, 8, 8), "loss": torch.sum},
            "importance 'wanda' takes no gradients",
        ),
    ],
)
def test_data_and_criteria_must_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(gp.InputError) as caught:
        gp.shrink(traced("residual")[1], macs=0.5, **options)
    assert message in str(caught.value)
    assert caught.value.remedy


def test_nan_in_the_data_is_said() -> None:
    x = traced("residual")[2].clone()
    x[0, 0, 0, 0] = float("nan")
    with pytest.raises(gp.InputError, match="not finite") as caught:
        gp.shrink(traced("residual")[1], macs=0.5, importance="wanda", calibration=x)
    assert "calibration" in caught.value.remedy


def test_a_custom_importance_may_leave_groups_alone() -> None:
    graph = traced("residual")[1]

    def first_only(graph: gp.DependencyGraph, tensors: Any, seed: int) -> dict[str, torch.Tensor | None]:
        first, *rest = graph.groups
        return {first.name: torch.arange(first.size), **{group.name: None for group in rest}}

    plan = gp.shrink(graph, ratio=0.5, importance=first_only).plan
    first, *rest = graph.groups
    assert plan.groups[first.name].tolist() == [4, 5, 6, 7]
    assert all(len(plan.groups[group.name]) == group.size for group in rest)

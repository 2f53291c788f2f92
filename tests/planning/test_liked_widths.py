"""Multiples by kind of layer: wishes, which hold for whole groups and give way to budgets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from planning_models import network, transformer
from torch import nn

import graphprune as gp
from graphprune.ground.files import CACHE
from graphprune.planning import Budget, Constraints, Limit, choose, find_limits
from graphprune.profiling import widths
from graphprune.scoring import find_importance


def limits(graph: gp.DependencyGraph, **multiples: int) -> dict[str, Limit]:
    return find_limits(graph, Constraints(align=multiples))


def test_each_group_takes_the_largest_wish_of_its_layers() -> None:
    found = limits(network(), convolution=16, linear=4)
    # the last residual stream and the side branch are read by the linear layer too
    assert {name: limit.step for name, limit in found.items()} == {
        "stem.weight:0": 16,
        "early.0.one.weight:0": 16,
        "early.1.one.weight:0": 16,
        "down.weight:0": 16,
        "late.0.one.weight:0": 16,
        "late.1.one.weight:0": 16,
        "side.weight:0": 16,
        "hidden.weight:0": 4,
    }
    assert limits(network(), linear=8)["side.weight:0"].step == 8
    assert limits(network(), linear=8)["early.0.one.weight:0"].step == 1


def test_attention_wishes_for_its_width_not_its_heads() -> None:
    graph = transformer()
    fibred = next(group.name for group in graph.groups if group.fibre is not None)
    heads = next(group.name for group in graph.groups if group.size == 4)
    found = limits(graph, attention=4)
    assert (found[fibred].step, found[heads].step) == (4, 1)


def test_depthwise_and_grouped_convolutions_have_wishes_of_their_own() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 64, 1),
        nn.Conv2d(64, 64, 3, groups=64),
        nn.Conv2d(64, 128, 1, groups=4),
        nn.Conv2d(128, 5, 1),
    )
    graph = gp.trace(model, torch.zeros(1, 3, 8, 8))
    assert {limit.step for limit in limits(graph, depthwise=8).values()} == {1, 8}
    inner = {graph.by_name[name].size: limit.step for name, limit in limits(graph, grouped=16).items()}
    assert inner[32] == 16  # the outputs of each of four groups


@pytest.mark.parametrize(("size", "step"), [(8, 4), (10, 8), (16, 8), (24, 16), (2, 1), (3, 2)])
def test_a_group_too_narrow_for_the_multiple_stays_whole_unless_asked(size: int, step: int) -> None:
    graph = gp.trace(nn.Sequential(nn.Linear(4, size), nn.ReLU(), nn.Linear(size, 3)), torch.zeros(1, 4))
    (limit,) = limits(graph, linear=16).values()
    assert limit.least == min(size, 16)
    assert (limit.cuttable().step, limit.cuttable().least) == (step, step)
    assert chosen(graph, {"linear": 16}, 0.999)[0] != {"0.weight:0": size}  # by a budget
    kept = choose(graph, {"0.weight:0": torch.rand(size)}, Budget("ratio", 0.99), {"0.weight:0": limit})
    assert int(kept["0.weight:0"].sum()) == step  # or by a ratio


def chosen(graph: gp.DependencyGraph, multiples: dict[str, int], macs: float) -> tuple[dict[str, int], float]:
    scores = find_importance("l2")(graph, graph.program.tensors, 0)
    masks = choose(graph, scores, Budget("macs", macs), find_limits(graph, Constraints(align=multiples)))
    sizes = {name: int(mask.sum()) // (len(mask) if mask.dim() == 2 else 1) for name, mask in masks.items()}
    return sizes, graph.cost(sizes).macs / graph.cost().macs


@pytest.mark.parametrize("graph", [network, transformer])
@pytest.mark.parametrize("macs", [0.75, 0.5, 0.3, 0.1])
def test_budgets_are_met_within_one_percent_all_the_same(graph: Any, macs: float) -> None:
    _, reached = chosen(graph(), {"convolution": 16, "linear": 8, "attention": 4}, macs)
    assert 0.99 * macs <= reached <= macs


def test_only_few_groups_give_way() -> None:
    sizes, _ = chosen(network(), {"convolution": 8}, 0.5)
    odd = [name for name, size in sizes.items() if size % 8 and size != network().by_name[name].size]
    assert len(odd) <= 2


def test_an_explicit_multiple_never_gives_way() -> None:
    graph = network()
    scores = find_importance("l2")(graph, graph.program.tensors, 0)
    masks = choose(graph, scores, Budget("macs", 0.5), find_limits(graph, Constraints(align=16)))
    assert all(int(mask.sum()) % 16 == 0 or bool(mask.all()) for mask in masks.values())


def test_a_ratio_of_its_own_and_protection_hold_under_wishes() -> None:
    wishes = Constraints(
        align={"convolution": 8}, ratios={"early.0.one": 0.5}, protect=("down",), max_ratio=0.6
    )
    graph = network()
    scores = find_importance("l2")(graph, graph.program.tensors, 0)
    for macs in (0.8, 0.6):
        masks = choose(graph, scores, Budget("macs", macs), find_limits(graph, wishes))
        sizes = {name: int(mask.sum()) for name, mask in masks.items()}
        assert sizes["early.0.one.weight:0"] == 24
        assert sizes["down.weight:0"] == 64
        assert all(size >= 0.4 * graph.by_name[name].size for name, size in sizes.items())


# -- the default --------------------------------------------------------------------------------------------
@pytest.fixture
def _likes(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path))
    widths.store({"convolution": 16, "depthwise": 4, "grouped": 16, "linear": 8, "attention": 1})


@pytest.mark.usefixtures("_likes")
@pytest.mark.parametrize(
    "request_",
    [
        {"macs": 0.5},
        {"params": 0.4, "macs": 0.5},
        {"ratio": 0.5},
        {"memory": 0.5, "ranking": "uniform"},
        {"macs": 0.6, "max_ratio": 0.5, "ratios": {"late.0.one": 0.5}, "protect": ["stem"], "min_keep": 8},
    ],
    ids=str,
)
def test_auto_is_the_default_and_is_recorded(request_: dict[str, Any]) -> None:
    plan = gp.shrink(network(), **request_).plan
    assert plan.request["align"] == "auto"
    assert plan.request["multiples"]["convolution"] == 16
    sizes = {name: len(kept) for name, kept in plan.groups.items()}
    aligned = [name for name, size in sizes.items() if size % 8 == 0]
    assert len(aligned) >= len(sizes) - 3
    assert sizes != {group.name: group.size for group in network().groups}


@pytest.mark.usefixtures("_likes")
def test_one_takes_any_width_and_lossless_needs_none() -> None:
    plan = gp.shrink(network(), macs=0.5, align=1).plan
    assert sum(len(kept) % 2 for kept in plan.groups.values()) > 1
    assert gp.shrink(network(), lossless=True).plan.request["align"] == 1


@pytest.mark.parametrize("align", ["eight", 0, -1, 2.5])
def test_other_alignments_are_refused(align: Any) -> None:
    with pytest.raises(gp.InputError, match="align="):
        gp.shrink(network(), macs=0.5, align=align)

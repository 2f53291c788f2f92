"""Ties: groups that keep the same share of their units, which ones each for itself."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.asking.record import as_options
from graphprune.planning import RANKINGS, make_plan
from graphprune.planning.ranking import rank
from graphprune.planning.ties import find_ties, read_ties
from graphprune.scoring import find_importance


class Branches(nn.Module):
    """Three widths of 12 and one of 24 that nothing couples; ``wide`` for another number than 24."""

    def __init__(self, wide: int = 24) -> None:
        super().__init__()
        self.a, self.b, self.c, self.wide = (nn.Linear(6, n) for n in (12, 12, 12, wide))
        self.out = nn.ModuleList(nn.Linear(n, 4) for n in (12, 12, 12, wide))

    def forward(self, x: Tensor) -> Tensor:
        hidden = [layer(x).relu() for layer in (self.a, self.b, self.c, self.wide)]
        return sum(layer(each) for layer, each in zip(self.out, hidden, strict=True))  # type: ignore[return-value]


X = torch.zeros(2, 6)
A, B, C, WIDE = "a.weight:0", "b.weight:0", "c.weight:0", "wide.weight:0"


def branches() -> Branches:
    torch.manual_seed(3)
    model = Branches().eval()
    with torch.no_grad():
        for factor, layer in zip((1, 1, 3), (model.a, model.b, model.c), strict=True):
            layer.weight *= factor
    return model


@cache
def traced() -> gp.DependencyGraph:
    return gp.trace(branches(), X)


@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize("asked", [{"params": 0.3}, {"macs": 0.4}, {"params": 0.4, "macs": 0.5}])
def test_tied_groups_are_equally_wide_and_budgets_are_met(ranking: str, asked: dict[str, Any]) -> None:
    result = gp.shrink(traced(), None, **asked, ranking=ranking, align=1, ties=["a,b"])
    sizes = result.plan.sizes
    assert sizes[A] == sizes[B] < 12
    assert not torch.equal(result.plan.groups[A], result.plan.groups[B])
    assert any(check.name == "tied groups keep the same share" for check in result.verdict.checks)
    reached = {k: getattr(result.after, k) / getattr(result.before, k) / share for k, share in asked.items()}
    assert 0.85 < max(reached.values()) <= 1  # a unit of the tie is 4 % of so small a model


def test_each_group_of_a_tie_keeps_its_own_best_units() -> None:
    result = gp.shrink(traced(), None, ratio=0.5, importance="l1", align=1, ties=[[A, B, C]])
    scores = find_importance("l1")(traced(), traced().program.tensors, 0)
    for name in (A, B, C):
        score = scores[name]
        assert score is not None
        assert result.plan.groups[name].tolist() == sorted(score.topk(6).indices.tolist())


def test_a_ranking_adds_the_scores_of_a_tie_in_their_order() -> None:
    graph = traced()
    one, other, group = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([10.0, 30.0, 20.0]), graph.by_name
    ranked = rank(graph, {A: (group[A], group[B])}, {A: one, B: other}, graph.params, "global")
    assert ranked[A].tolist() == [11, 22, 33]
    ranked = rank(graph, {A: (group[A], group[B])}, {A: one, B: other}, graph.params, "per_cost")
    unit = 6 + 1 + 4  # weights, bias and columns of one unit; the tie loses two at a time
    assert ranked[A].tolist() == [11 / (2 * unit), 22 / (2 * unit), 33 / (2 * unit)]


def test_groups_of_different_sizes_keep_the_same_share() -> None:
    """The larger ones lose several units at once: 24 are two for each of 12, and 8 two for each of 12 three."""
    for ranking in ("global", "per_cost", "uniform"):
        plan = gp.shrink(traced(), None, params=0.6, ranking=ranking, align=1, ties=["a,wide"]).plan
        assert plan.sizes[A] * 2 == plan.sizes[WIDE] < 24
    plan = gp.shrink(traced(), None, ratio=0.3, align=1, ties=["wide,a,b"]).plan
    assert plan.sizes == {**plan.sizes, A: 8, B: 8, WIDE: 16}
    plan = gp.shrink(traced(), None, params=0.75, align=4, min_keep=7, ties=["a,wide"]).plan
    assert (plan.sizes[A], plan.sizes[WIDE]) in ((8, 16), (12, 24))


def test_a_ranking_spreads_the_scores_of_a_larger_group_over_its_tie() -> None:
    graph = traced()
    scores = {group.name: torch.arange(group.size).float() for group in graph.groups}
    tied = {A: (graph.by_name[A], graph.by_name[WIDE])}
    keys = rank(graph, tied, scores, graph.params, "global")[A]
    assert keys.tolist() == [
        index + 4 * index + 1 for index in range(12)
    ]  # of the larger one 0 + 1, 2 + 3, …
    backward = {WIDE: (graph.by_name[WIDE], graph.by_name[A])}
    keys = rank(graph, backward, scores, graph.params, "global")[WIDE]
    assert keys.tolist() == [index + index // 2 / 2 for index in range(24)]


def test_what_holds_one_group_of_a_tie_holds_all() -> None:
    sizes = gp.shrink(traced(), None, params=0.6, align=1, protect=["a"], ties=["a,b"]).plan.sizes
    assert (sizes[A], sizes[B]) == (12, 12)
    sizes = gp.shrink(traced(), None, params=0.7, align=1, protect=[C], ties=["a,b", "b,c"]).plan.sizes
    assert (sizes[A], sizes[B], sizes[C]) == (12, 12, 12)
    sizes = gp.shrink(traced(), None, params=0.4, align=1, ratios={"b": 0.75}, ties=["?"]).plan.sizes
    assert (sizes[A], sizes[B], sizes[C]) == (3, 3, 3)
    sizes = gp.shrink(traced(), None, params=0.95, align=4, max_ratio=0.3, ties=[(A, "c")]).plan.sizes
    assert sizes[A] == sizes[C] == 12  # the only multiple of 4 that is not below 0.7 of 12


class Half:
    """An importance that cannot judge one group."""

    def __call__(self, graph: gp.DependencyGraph, tensors: Any, seed: int) -> dict[str, Tensor | None]:
        return {g.name: None if g.name == B else torch.arange(1.0, g.size + 1) for g in graph.groups}


def test_a_tie_with_a_group_that_cannot_be_judged_stays_whole() -> None:
    sizes = gp.shrink(traced(), None, params=0.8, importance=Half(), align=1, ties=["a,b"]).plan.sizes
    assert (sizes[A], sizes[B]) == (12, 12)
    assert sizes[C] < 12


def test_rounds_and_trials_keep_ties() -> None:
    data = torch.randn(64, 6)
    for options in ({"rounds": 3}, {"trials": 12}, {"rounds": 2, "between": lambda result: None}):
        result = gp.shrink(
            traced(), None, params=0.5, align=1, calibration=data, ties=["a,b,c"], repair=True, **options
        )
        assert len({result.plan.sizes[name] for name in (A, B, C)}) == 1


def test_a_lossless_shrink_removes_equally_many_dead_units_of_a_tie() -> None:
    model = branches()
    with torch.no_grad():
        for layer, dead in ((model.a, 5), (model.b, 3)):
            layer.weight[:dead], layer.bias[:dead] = 0, 0
    assert gp.shrink(model, X, lossless=True).plan.sizes[A] == 7
    result = gp.shrink(model, X, lossless=True, ties=["a,b"])
    assert (result.plan.sizes[A], result.plan.sizes[B]) == (9, 9)
    assert result.lossless is not None
    assert "another group of its tie keeps as many" in str(result.lossless.to_dict())
    assert result.verdict.passed
    x = torch.randn(5, 6)
    torch.testing.assert_close(result.model(x), model(x))


def test_a_plan_records_its_ties(tmp_path: Path) -> None:
    result = gp.shrink(traced(), None, params=0.5, align=1, ties=[["a", "b"], "c,a"])
    assert result.plan.request["ties"] == [["a", "b"], ["c", "a"]]
    again = gp.shrink(traced(), None, **as_options(gp.Plan.from_json(result.plan.to_json()).request))
    assert again.plan.sizes == result.plan.sizes
    result.save(tmp_path / "slim", latency=False, onnx=False)
    assert 'tie = ["a,b", "c,a"]' in (tmp_path / "slim/shrink.toml").read_text()


def test_an_edited_plan_that_breaks_a_tie_is_refused() -> None:
    plan = gp.shrink(traced(), None, params=0.3, align=1, ties=["a,b"]).plan
    wider = make_plan(traced(), {**plan.groups, A: torch.arange(12)}, plan.request)
    with pytest.raises(gp.VerificationError, match="tied groups keep the same share: FAILED"):
        gp.shrink(traced(), None, plan=wider)
    untied = replace(wider, request={**plan.request, "ties": []})
    assert gp.shrink(traced(), None, plan=untied).plan.sizes[A] == 12


@pytest.mark.parametrize(
    ("ties", "message"),
    [
        (["a"], "the tie 'a' names a.weight:0 alone"),
        (["out"], "the tie 'out' names nothing that can be removed"),
        (["wid,a"], "ties='wid' matches no layer"),
    ],
)
def test_ties_that_cannot_be_are_refused(ties: Any, message: str) -> None:
    with pytest.raises(gp.InputError) as caught:
        gp.shrink(traced(), None, params=0.5, ties=ties)
    assert message in str(caught.value)


def test_a_tie_of_sizes_without_a_common_share_is_refused() -> None:
    with pytest.raises(gp.InputError) as caught:
        gp.shrink(Branches(5), X, params=0.5, ties=["a,wide"])
    message = "the tie 'a,wide' has groups that cannot keep the same share: a.weight:0 of 12 units, wide.weight:0 of 5"
    assert message in str(caught.value)


def test_ties_that_share_a_group_are_one() -> None:
    graph = traced()
    found = find_ties(graph, read_ties(["*a.weight:0, b.weight:0", ["c.weight:0", A]]), lambda pattern: ())
    assert found == dict.fromkeys((A, B, C), (A, B, C))


def test_a_tie_whose_step_is_too_large_stays_wider_and_others_make_up_for_it() -> None:
    """One of four units goes with ten of forty: any step of the tie would jump far past the budget."""
    model = nn.ModuleDict({"coarse": nn.Linear(6, 4), "twice": nn.Linear(6, 40), "fine": nn.Linear(6, 40)})
    heads = nn.ModuleDict({name: nn.Linear(layer.out_features, 4) for name, layer in model.items()})

    class Three(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.heads = model, heads

        def forward(self, x: Tensor) -> Tensor:
            outs = [self.heads[name](self.layers[name](x).relu()) for name in self.layers]
            return sum(outs)  # type: ignore[return-value]

    torch.manual_seed(0)
    network = Three().eval()
    with torch.no_grad():
        model["coarse"].weight *= 1e-3  # the first to go, by its scores
        model["twice"].weight *= 1e-3
    result = gp.shrink(network, X, params=0.9, align=1, ties=["layers.coarse,layers.twice"])
    sizes = result.plan.sizes
    assert sizes["layers.coarse.weight:0"] * 10 == sizes["layers.twice.weight:0"] == 40
    assert sizes["layers.fine.weight:0"] < 40
    assert 0.98 < result.after.params / result.before.params / 0.9 <= 1

"""Criteria that look at the weights, by brute force."""

from __future__ import annotations

import pytest
import torch
from scoring_models import MODELS, member_slices, traced
from torch import Tensor, nn

import graphprune as gp
from graphprune.scoring.measures import AGGREGATES, NORMALISERS, Part, lamp
from graphprune.scoring.units import unit_maps

every_model = pytest.mark.parametrize("name", MODELS)


def scores(name: str, spelling: str) -> dict[str, Tensor | None]:
    graph = traced(name)[1]
    return gp.Criterion.parse(spelling)(graph, graph.program.tensors, 0)


def pieces(name: str, group: object) -> list[tuple[str, list[Tensor]]]:
    """(role, everything of one member that goes with each unit)."""
    model, graph, _ = traced(name)
    weights = dict(model.named_parameters())
    return [
        (
            member.role,
            [weights[member.tensor].detach().double().index_select(member.dim, at) for at in places],
        )
        for member, places in member_slices(graph, group)
    ]


@every_model
def test_units_stand_where_a_plan_cuts(name: str) -> None:
    graph = traced(name)[1]
    for group in graph.groups:
        for member, places in member_slices(graph, group):
            maps = unit_maps(graph.tensor_terms[member.tensor][member.dim], group)
            assert len(maps) == 1
            for unit, place in enumerate(places):
                assert torch.equal((maps[0] == unit).nonzero().flatten(), place)


def test_some_group_is_fibred() -> None:
    for name in ("attention", "grouped"):
        assert any(group.fibre is not None for group in traced(name)[1].groups)


NORMS = {
    "l1": lambda parts: sum(part.abs().sum() for part in parts),
    "l2": lambda parts: sum(part.square().sum() for part in parts).sqrt(),
}


@every_model
@pytest.mark.parametrize("criterion", NORMS)
def test_norms_are_those_of_all_that_goes(name: str, criterion: str) -> None:
    found = scores(name, f"{criterion}::none")
    for group in traced(name)[1].groups:
        members = pieces(name, group)
        units = range(found[group.name].numel())
        expected = torch.stack([NORMS[criterion]([parts[unit] for _, parts in members]) for unit in units])
        assert found[group.name].shape == group.shape
        torch.testing.assert_close(found[group.name].flatten(), expected, rtol=1e-5, atol=0)


@every_model
def test_linf_is_the_largest_weight_of_each_producer(name: str) -> None:
    found = scores(name, "linf::none")
    for group in traced(name)[1].groups:
        members = [parts for role, parts in pieces(name, group) if role == "produces"]
        expected = torch.stack([torch.stack([p.abs().max() for p in parts]) for parts in members]).sum(0)
        torch.testing.assert_close(found[group.name].flatten(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("aggregate", ["sum", "mean", "max", "prod", "first", "producers"])
def test_members_are_put_together_as_asked(aggregate: str) -> None:
    graph = traced("residual")[1]
    group = graph.by_name["stem.weight:0"]
    parts = [
        (role, torch.stack([piece.abs().sum() for piece in units]))
        for role, units in pieces("residual", group)
    ]
    by = {
        "sum": sum(values for _, values in parts),
        "mean": sum(values for _, values in parts) / len(parts),
        "max": torch.stack([values for _, values in parts]).amax(0),
        "prod": torch.stack([values for _, values in parts]).prod(0),
        "first": parts[0][1],
        "producers": sum(values for role, values in parts if role == "produces"),
    }
    assert sum(role == "produces" for role, _ in parts) == 2
    found = scores("residual", f"l1:{aggregate}:none")[group.name]
    torch.testing.assert_close(found, by[aggregate], rtol=1e-5, atol=0)


def test_without_a_producer_the_first_member_stands_in() -> None:
    parts = [Part("carries", torch.tensor([1.0, 2.0])), Part("consumes", torch.tensor([5.0, 1.0]))]
    assert AGGREGATES["first"](parts).tolist() == [1, 2]
    assert AGGREGATES["producers"](parts).tolist() == [6, 3]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", [1, 2, 5]),
        ("mean", [3 / 8, 6 / 8, 15 / 8]),
        ("max", [0.2, 0.4, 1]),
        ("sum", [1 / 8, 2 / 8, 5 / 8]),
        ("lamp", [1 / 8, 2 / 7, 1]),
    ],
)
def test_normalisers(name: str, expected: list[float]) -> None:
    values = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    torch.testing.assert_close(NORMALISERS[name](values), torch.tensor(expected, dtype=torch.float64))


def test_standard_scores_and_scores_that_are_all_alike() -> None:
    standard = NORMALISERS["standard"](torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64))
    assert abs(float(standard.mean())) < 1e-12
    assert float(standard.square().mean()) == pytest.approx(1)
    for name, normalise in NORMALISERS.items():
        for value in (0.0, 3.0):
            assert torch.isfinite(normalise(torch.full((4,), value))).all(), name


def test_lamp_keeps_the_order_and_the_shape() -> None:
    torch.manual_seed(0)
    values = torch.rand(4, 6, dtype=torch.float64)
    assert lamp(values).shape == (4, 6)
    assert torch.equal(lamp(values).flatten().argsort(), values.flatten().argsort())
    ordered = values.flatten().sort().values
    expected = torch.stack([ordered[i] / ordered[i:].sum() for i in range(24)])
    torch.testing.assert_close(lamp(values).flatten().sort().values, expected)


def test_lamp_is_that_of_squared_weights() -> None:
    raw, found = scores("residual", "l2::none"), scores("residual", "lamp")
    for name, values in raw.items():
        torch.testing.assert_close(found[name], lamp(values.square()), rtol=1e-5, atol=0)


def test_batch_norm_scales_and_groups_without_them() -> None:
    model, graph, _ = traced("depthwise")
    found = scores("depthwise", "bn_scale::none")
    expected = model.first.weight.abs() + model.second.weight.abs()
    torch.testing.assert_close(found["expand.weight:0"], expected.detach().double())
    assert found["project.weight:0"] is None
    result = gp.shrink(graph, macs=0.6, importance="bn_scale")
    assert len(result.plan.groups["project.weight:0"]) == 6
    assert len(result.plan.groups["expand.weight:0"]) < 10
    assert result.plan.request["unjudged"] == ["project.weight:0"]


def test_a_model_without_batch_norms_is_refused() -> None:
    with pytest.raises(gp.InputError, match="judge none"):
        gp.shrink(traced("attention")[1], macs=0.5, importance="bn_scale")


@every_model
def test_fpgm_is_the_sum_of_distances(name: str) -> None:
    found = scores(name, "fpgm:sum:none")
    for group in traced(name)[1].groups:
        total = torch.zeros(group.shape, dtype=torch.float64)
        for role, units in pieces(name, group):
            if units[0].dim() > 1 and role != "carries":
                rows = torch.stack([unit.flatten() for unit in units]).reshape(
                    -1, group.size, units[0].numel()
                )
                distances = (rows.unsqueeze(1) - rows.unsqueeze(2)).square().sum(-1).sqrt().sum(-1)
                total += distances.reshape(total.shape)
        torch.testing.assert_close(found[group.name], total)


def test_of_two_alike_one_goes_and_one_stays() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 6, bias=False), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        model[0].weight[4] = -0.5 * model[0].weight[1]  # weaker, of the opposite sign
        model[0].weight[5] = model[0].weight[2]  # equal: the later one goes
    graph = gp.trace(model, torch.zeros(2, 16))
    for aggregate in ("first", ""):
        found = gp.Criterion("cosine", aggregate, "none")(graph, graph.program.tensors, 0)["0.weight:0"]
        assert set(found.argsort()[:2].tolist()) == {4, 5}
        assert float(found[[4, 5]].max()) < 1e-6
        assert float(found[[1, 2]].min()) > 0.1


def test_random_scores_differ_between_groups_and_seeds() -> None:
    graph = traced("residual")[1]
    one, again, other = (gp.Criterion("random")(graph, {}, seed) for seed in (0, 0, 1))
    first, second = list(one)[:2]
    assert torch.equal(one[first], again[first])
    assert not torch.equal(one[first], other[first])
    assert not torch.equal(one[first][:8], one[second][:8])


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        ("l3", "unknown importance 'l3'"),
        ("l2:meen", "unknown aggregate 'meen' — use one of mean"),
        ("l2:mean:maxx", "unknown normalise 'maxx' — use one of max"),
        ("l2:mean:max:1", "has 4 parts"),
    ],
)
def test_misspelt_criteria_are_refused(spelling: str, message: str) -> None:
    with pytest.raises(gp.InputError) as caught:
        gp.Criterion.parse(spelling)
    assert message in str(caught.value)


def test_spellings() -> None:
    assert gp.Criterion.parse("l2:mean:max") == gp.Criterion("l2", aggregate="mean", normalise="max")
    assert gp.Criterion.parse("l2::max") == gp.Criterion("l2", normalise="max")
    assert [str(gp.Criterion.parse(text)) for text in ("l2", "l2:mean", "l2::max")] == [
        "l2",
        "l2:mean",
        "l2::max",
    ]

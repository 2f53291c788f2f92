"""Budgets are met from below and closely, or refused with the smallest share."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
import torch
from planning_models import network, transformer
from torch import Tensor

import graphprune as gp
from graphprune.planning import Budget, Constraints, choose, find_limits, make_plan
from graphprune.scoring import find_importance

GRAPHS = {"network": network, "transformer": transformer}
every_graph = pytest.mark.parametrize("name", GRAPHS)


def planned(
    graph: gp.DependencyGraph,
    kind: str,
    value: float,
    importance: str = "l2",
    constraints: Constraints | None = None,
) -> dict[str, Tensor]:
    """Kept units of every group."""
    scores = find_importance(importance)(graph, graph.program.tensors, 0)
    limits = find_limits(graph, constraints or Constraints())
    return choose(graph, scores, Budget(kind, value), limits)


def sizes(kept: Mapping[str, Tensor]) -> dict[str, int]:
    """Units per group, which must be as many in each row."""
    counts = {name: mask.sum(-1).flatten() for name, mask in kept.items()}
    assert all(bool((count == count[0]).all()) for count in counts.values())
    return {name: int(count[0]) for name, count in counts.items()}


def share(graph: gp.DependencyGraph, kind: str, kept: Mapping[str, Tensor]) -> float:
    return getattr(graph.cost(sizes(kept)), kind) / getattr(graph.cost(), kind)


# -- budgets of cost ----------------------------------------------------------------------------------------
@every_graph
@pytest.mark.parametrize("kind", ["macs", "params"])
@pytest.mark.parametrize("value", [0.95, 0.75, 0.5, 0.31, 0.1])
def test_a_budget_is_met_from_below_and_closely(name: str, kind: str, value: float) -> None:
    reached = share(GRAPHS[name](), kind, planned(GRAPHS[name](), kind, value))
    assert value - 0.01 <= reached <= value


@pytest.mark.parametrize("importance", ["l1", "random"])
def test_other_criteria_meet_it_too(importance: str) -> None:
    reached = share(network(), "macs", planned(network(), "macs", 0.5, importance))
    assert 0.49 <= reached <= 0.5


@every_graph
@pytest.mark.parametrize("kind", ["macs", "params"])
def test_the_whole_budget_removes_nothing(name: str, kind: str) -> None:
    kept = planned(GRAPHS[name](), kind, 1.0)
    assert all(bool(mask.all()) for mask in kept.values())


@every_graph
def test_a_smaller_budget_never_costs_more(name: str) -> None:
    graph = GRAPHS[name]()
    shares = [share(graph, "macs", planned(graph, "macs", value / 20)) for value in range(2, 21)]
    assert shares == sorted(shares)


def test_the_slim_model_costs_what_was_planned() -> None:
    result = gp.shrink(network(), macs=0.4)
    assert result.after.macs <= 0.4 * result.before.macs
    assert result.after == network().cost(sizes_of(result.plan))
    assert sum(parameter.numel() for parameter in result.model.parameters()) == result.after.params


def sizes_of(plan: gp.Plan) -> dict[str, int]:
    return {name: kept.shape[-1] for name, kept in plan.groups.items()}


def test_the_best_units_are_kept() -> None:
    """Within a group nothing that was removed scores higher than what was kept."""
    graph = network()
    scores = find_importance("l2")(graph, graph.program.tensors, 0)
    for name, mask in planned(graph, "macs", 0.5).items():
        if not mask.all():
            assert scores[name][mask].min() >= scores[name][~mask].max()


def test_rows_of_a_fibre_are_chosen_one_by_one() -> None:
    graph = transformer()
    scores = find_importance("l2")(graph, graph.program.tensors, 0)
    fibred = next(group for group in graph.groups if group.fibre is not None)
    mask = planned(graph, "params", 0.5)[fibred.name]
    assert mask.shape == (4, 8)
    assert 0 < int(mask[0].sum()) < 8
    for row, score in zip(mask, scores[fibred.name], strict=True):
        assert score[row].min() >= score[~row].max()
    assert len({tuple(row.tolist()) for row in mask}) > 1


# -- out of reach -------------------------------------------------------------------------------------------
@every_graph
@pytest.mark.parametrize("kind", ["macs", "params"])
def test_an_unreachable_budget_gives_the_smallest_share(name: str, kind: str) -> None:
    """The share that the message gives is that of the least widths, and the remedy can be followed."""
    graph, constraints = GRAPHS[name](), Constraints(min_keep=4)
    with pytest.raises(gp.BudgetError, match="cannot be reached") as caught:
        planned(graph, kind, 0.001, constraints=constraints)
    least = {group: limit.least for group, limit in find_limits(graph, constraints).items()}
    smallest = getattr(graph.cost(least), kind) / getattr(graph.cost(), kind)
    assert f"keeps {smallest:.4f}" in caught.value.message
    advised = float(re.findall(rf"{kind}=([\d.]+) or more", caught.value.remedy)[0])
    assert advised >= smallest
    assert share(graph, kind, planned(graph, kind, advised, constraints=constraints)) <= advised


def test_nothing_can_be_removed() -> None:
    """Everything protected: only the whole model will do."""
    constraints = Constraints(protect=("*",))
    with pytest.raises(gp.BudgetError, match=r"keeps 1\.0000"):
        planned(network(), "macs", 0.9, constraints=constraints)
    assert share(network(), "macs", planned(network(), "macs", 1.0, constraints=constraints)) == 1


def test_a_model_without_groups() -> None:
    graph = gp.trace(torch.nn.Linear(3, 4), torch.zeros(2, 3))
    assert planned(graph, "macs", 1.0) == {}
    with pytest.raises(gp.BudgetError):
        planned(graph, "macs", 0.5)


# -- ratios -------------------------------------------------------------------------------------------------
@every_graph
@pytest.mark.parametrize("value", [0.0, 0.1, 0.25, 0.5, 0.8, 0.99])
def test_a_ratio_is_removed_from_every_group_alike(name: str, value: float) -> None:
    graph = GRAPHS[name]()
    for group, size in sizes(planned(graph, "ratio", value)).items():
        full = graph.by_name[group].size
        assert size == max(1, int(full * (1 - value) + 0.5))


# -- what is asked for --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "value"),
    [("macs", 0.0), ("macs", 1.1), ("params", -0.5), ("ratio", 1.0), ("ratio", -0.1), ("flops", 0.5)],
)
def test_a_budget_out_of_range_is_refused(kind: str, value: float) -> None:
    with pytest.raises(gp.InputError, match=r"out of range|unknown budget"):
        Budget(kind, value)


def _wrong(scores: dict[str, Tensor], first: str, kind: str) -> dict[str, Tensor]:
    if kind == "missing":
        return {name: score for name, score in scores.items() if name != first}
    wrong = scores[first][:-1] if kind == "short" else torch.full_like(scores[first], float(kind))
    return {**scores, first: wrong}


@pytest.mark.parametrize(
    ("kind", "message"),
    [("missing", "gives nothing"), ("short", "gives shape"), ("nan", "not finite"), ("inf", "not finite")],
)
def test_scores_that_cannot_be_used_are_refused(kind: str, message: str) -> None:
    graph = network()
    scores = dict(find_importance("l2")(graph, graph.program.tensors, 0))
    first = graph.groups[0].name
    limits = find_limits(graph, Constraints())
    with pytest.raises(gp.InputError, match=message) as caught:
        choose(graph, _wrong(scores, first, kind), Budget("macs", 0.5), limits)
    assert first in caught.value.message


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_scores_that_are_all_alike(value: float) -> None:
    """Nothing to choose by: the first units are kept, and the budget is met all the same."""
    graph = network()
    scores = {group.name: torch.full((group.size,), value) for group in graph.groups}
    kept = choose(graph, scores, Budget("macs", 0.5), find_limits(graph, Constraints()))
    assert share(graph, "macs", kept) <= 0.5
    for mask in kept.values():
        assert bool(mask[: int(mask.sum())].all())


def test_a_plan_follows_from_what_is_chosen() -> None:
    graph = network()
    kept = planned(graph, "macs", 0.5)
    plan = make_plan(graph, kept)
    assert {name: indices.tolist() for name, indices in plan.groups.items()} == {
        name: mask.nonzero().flatten().tolist() for name, mask in kept.items()
    }

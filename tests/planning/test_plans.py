"""Plans as documents: written, read, replayed, and refused when an edit cannot be right."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest
import torch
from planning_models import network, transformer

import graphprune as gp
from graphprune.planning import make_plan

Document = dict[str, Any]

GRAPHS = {"network": network, "transformer": transformer}
FIBRED = "attention.qkv.weight:0/2"


@lru_cache(None)
def shrunk(name: str) -> gp.Result:
    return gp.shrink(GRAPHS[name](), params=0.5)


# -- round trip ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", GRAPHS)
def test_a_plan_survives_writing_and_reading(name: str) -> None:
    plan = shrunk(name).plan
    again = gp.Plan.from_json(plan.to_json())
    assert again.to_json() == plan.to_json()
    assert again.model == plan.model
    assert again.request == plan.request
    assert again.groups.keys() == plan.groups.keys()
    assert all(torch.equal(again.groups[group], kept) for group, kept in plan.groups.items())
    again.check(GRAPHS[name]())


@pytest.mark.parametrize("name", GRAPHS)
def test_a_plan_can_be_replayed(name: str) -> None:
    first = shrunk(name)
    again = gp.shrink(GRAPHS[name](), plan=gp.Plan.from_json(first.plan.to_json()))
    assert again.plan.to_json() == first.plan.to_json()
    pairs = zip(first.model.state_dict().items(), again.model.state_dict().items(), strict=True)
    assert all(name == other and torch.equal(one, two) for (name, one), (other, two) in pairs)


def test_the_document_is_readable() -> None:
    """One line per list of indices, and how it was asked for."""
    lines = shrunk("network").plan.to_json().splitlines()
    assert lines[1] == '"format": 1,'
    assert any(line.startswith('  "stem.weight:0": [') for line in lines)
    assert any(line.startswith('  "stem.weight": {"0": [') for line in lines)
    request = json.loads("\n".join(lines))["request"]
    assert request["budget"] == {"params": 0.5}
    assert request["importance"] == "l2"


def test_every_tensor_follows_from_the_groups() -> None:
    """The kept indices of a dimension with a product are those of its fibres and widths."""
    plan = shrunk("transformer").plan
    heads, width = plan.groups["attention.qkv.weight:0/1"].tolist(), plan.groups[FIBRED].tolist()
    expected = [part * 32 + head * 8 + unit for part in range(3) for head in heads for unit in width[head]]
    assert plan.kept["attention.qkv.weight"][0].tolist() == expected
    assert plan.kept["attention.qkv.bias"][0].tolist() == expected


def test_groups_that_are_not_named_stay_whole() -> None:
    plan = make_plan(network(), {"stem.weight:0": torch.tensor([3, 1, 2])})
    assert plan.groups["stem.weight:0"].tolist() == [1, 2, 3]
    assert plan.kept["stem.weight"][0].tolist() == [1, 2, 3]
    assert "hidden.weight" not in plan.kept
    result = gp.shrink(network(), plan=plan)
    assert result.verdict.passed
    assert result.model.stem.out_channels == 3


def test_masks_and_indices_are_the_same_plan() -> None:
    mask = torch.zeros(32, dtype=torch.bool)
    mask[[4, 9]] = True
    by_mask = make_plan(network(), {"stem.weight:0": mask})
    assert by_mask.to_json() == make_plan(network(), {"stem.weight:0": torch.tensor([4, 9])}).to_json()


# -- edits that cannot be right -----------------------------------------------------------------------------
def edited(name: str, edit: Callable[[Document], Any]) -> str:
    document = json.loads(shrunk(name).plan.to_json())
    edit(document)
    return json.dumps(document)


def set_group(kept: Any, group: str = "stem.weight:0") -> Callable[[Document], None]:
    return lambda document: document["groups"].__setitem__(group, kept)


def refused(name: str, text: str, message: str) -> None:
    with pytest.raises(gp.PlanError, match=message) as caught:
        gp.Plan.from_json(text).check(GRAPHS[name]())
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ([], "is given|not a plan"),
        ([0, 1, 32], r"outside 0\.\.31"),
        ([-1, 3], r"outside 0\.\.31"),
        ([3, 3, 4], "twice"),
        ([0.5, 1.5], "whole numbers"),
        (["first"], "not a plan"),
        ([True, False], "whole numbers"),
        (7, "list of whole numbers"),
        ([[0, 1], [2, 3]], "is given"),
        ([2**70], "not a plan"),
        (None, "not a plan"),
        ({"0": 1}, "not a plan"),
    ],
    ids=str,
)
def test_a_group_that_cannot_be_kept_is_refused(kept: Any, message: str) -> None:
    refused("network", edited("network", set_group(kept)), message)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ([[0, 1], [2, 3], [4, 5], [6]], "not a plan"),
        ([[0, 1], [2, 3], [4, 5]], "one row for each of 4"),
        ([0, 1], "is given"),
        ([[], [], [], []], "is given|not a plan"),
        ([[0, 1], [2, 3], [4, 4], [6, 7]], "twice"),
        ([[0, 1], [2, 3], [4, 8], [6, 7]], r"outside 0\.\.7"),
    ],
    ids=str,
)
def test_rows_that_cannot_be_kept_are_refused(kept: Any, message: str) -> None:
    refused("transformer", edited("transformer", set_group(kept, FIBRED)), message)


def test_masks_of_unequal_rows_are_refused() -> None:
    mask = torch.ones(4, 8, dtype=torch.bool)
    mask[0, 0] = False
    with pytest.raises(gp.PlanError, match="unequal numbers per row"):
        make_plan(transformer(), {FIBRED: mask})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_group([0], "stem.weight:1"), "no group 'stem.weight:1'"),
        (set_group([0], "nothing"), "no group 'nothing'"),
        (set_group([0, 1, 2]), "do not follow from the plan's groups"),
        (lambda document: document["tensors"]["stem.weight"].pop("0"), "do not follow"),
        (lambda document: document["tensors"].pop("stem.bias"), "do not follow"),
        (lambda document: document["tensors"]["stem.weight"].update({"1": [0]}), "do not follow"),
        (lambda document: document["tensors"].update({"head.weight": {"0": [1, 2]}}), "do not follow"),
        (lambda document: document["tensors"]["stem.weight"].update({"first": [0]}), "not a plan"),
        (lambda document: document.update({"model": "0" * 16}), "another model"),
        (lambda document: document.update({"format": 2}), "format 2"),
        (lambda document: document.pop("groups"), "not a plan"),
        (lambda document: document.update({"groups": []}), "not a plan"),
        (lambda document: document.update({"tensors": [1]}), "not a plan"),
        (lambda document: document.update({"request": 3}), "not a plan"),
    ],
)
def test_documents_that_cannot_be_right_are_refused(edit: Callable[[Document], Any], message: str) -> None:
    refused("network", edited("network", edit), message)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", '"plan"', "{}", "[" * 5000], ids=lambda t: t[:8]
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    refused("network", text, "not a plan")


def test_a_plan_for_another_model_is_refused() -> None:
    """The same groups of the same sizes in a model with other tensors."""
    plan = shrunk("network").plan
    with pytest.raises(gp.PlanError):
        gp.shrink(transformer(), plan=plan)

    class Other(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = torch.nn.Linear(4, 6), torch.nn.Linear(6, 2)
            self.bias = torch.nn.Parameter(torch.zeros(1, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(self.one(x)) + self.bias[0]

    class Same(Other):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(self.one(x))

    inputs = torch.zeros(2, 4)
    plan = gp.shrink(Other(), inputs, ratio=0.5).plan
    with pytest.raises(gp.PlanError, match="another model"):
        gp.shrink(Same(), inputs, plan=plan)


def test_a_budget_and_a_plan_are_one_too_many() -> None:
    with pytest.raises(gp.InputError, match="exactly one"):
        gp.shrink(network(), macs=0.5, plan=shrunk("network").plan)

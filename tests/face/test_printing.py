"""What is printed of a public object is one line that says what it is, never its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

import graphprune as gp


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture(scope="module")
def objects() -> Mapping[str, Any]:
    torch.manual_seed(0)
    inputs = torch.randn(2, 6)
    graph = gp.trace(Net(), inputs)
    result = gp.shrink(graph, inputs, ratio=0.5, align=1)
    proposal = gp.plan(graph, inputs, ratio=0.5, align=1)
    loop = gp.Loop(result, (), "the budget is met")
    sensitivity = gp.sensitivity(graph, ratios=(0.5,))
    found = (graph, graph.program, result, result.plan, proposal, sensitivity, loop)
    return {type(item).__name__: item for item in found}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DependencyGraph", "(Net, operators=3, axes=4, groups=1, params=83, macs=72, varying=[batch])"),
        ("Program", "(Net, operators=3, inputs=1, stored=4, varying=[batch])"),
        ("Result", "(params=83 → 43, macs=72 → 36, checks=13 of 13 passed)"),
        ("Plan", "({'ratio': 0.5}, groups=1, kept_units=4, cut_tensors=3)"),
        ("Sensitivity", "(l2, groups=1, points=1)"),
    ],
)
def test_one_line(objects: Mapping[str, Any], name: str, text: str) -> None:
    assert repr(objects[name]) == str(objects[name]) == name + text


def test_costs_of_a_proposal(objects: Mapping[str, Any]) -> None:
    text = str(objects["Proposal"])
    assert text.startswith("Proposal(macs=72 → 36, params=83 → 43, ")
    assert text.endswith(f", {objects['Plan']})")


def test_no_tensors(objects: Mapping[str, Any]) -> None:
    for item in objects.values():
        assert "tensor(" not in repr(item)
        assert "\n" not in repr(item)

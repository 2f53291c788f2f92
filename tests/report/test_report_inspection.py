"""What can be removed and what cannot: figures that can be counted by hand."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.report.facts import inspection


class Net(nn.Module):
    """4 → 6 → 5, where inputs, outputs and the rows of a table are pinned."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(7, 4))
        self.first = nn.Linear(4, 6)
        self.second = nn.Linear(6, 5)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        return self.second(self.first(x).relu()) + self.table[index].sum(-1, keepdim=True)


@pytest.fixture(scope="module")
def graph() -> gp.DependencyGraph:
    return gp.trace(Net(), (torch.randn(2, 4), torch.tensor([1, 3])))


def test_shares_of_groups(graph: gp.DependencyGraph) -> None:
    found = inspection(graph)
    params = 7 * 4 + 6 * 4 + 6 + 5 * 6 + 5
    assert found["params"] == params
    group = next(group for group in found["groups"] if group["name"] == "first.weight:0")
    assert (group["size"], group["each_of"]) == (6, None)
    assert group["params"] == pytest.approx((6 * 4 + 6 + 5 * 6) / params)
    assert group["macs"] == 1
    assert found["macs"] == 6 * 4 + 5 * 6


def test_reach_and_smallest(graph: gp.DependencyGraph) -> None:
    found = inspection(graph)
    sizes = {group["name"]: 1 for group in found["groups"]}
    assert found["smallest"]["params"] == graph.cost(sizes).params
    assert 0 < found["reachable"]["params"] < 1
    assert found["reachable"]["macs"] == 1


def test_pins_most_costly_first(graph: gp.DependencyGraph) -> None:
    pins = inspection(graph)["pins"]
    lost = [row["unreachable"] for row in pins]
    assert lost == sorted(lost, reverse=True)
    output = next(row for row in pins if row["reason"] == "an output of the model")
    assert output["axes"] == 2  # of the second layer's weight and bias
    assert output["params"] == 5 * 6 + 5
    assert output["unreachable"] == 5  # only the bias: the weight can lose inputs
    assert output["examples"] == ["second.weight:0", "second.bias:0"]


def test_everything_is_json(graph: gp.DependencyGraph) -> None:
    for document in (inspection(graph), graph.explanation("second")):
        assert json.loads(json.dumps(document)) == document


def test_explanation_names_pins_and_paths(graph: gp.DependencyGraph) -> None:
    outputs, inputs = graph.explanation("second")["tensors"]["second.weight"]
    assert [pin["reason"] for pin in outputs["axes"][0]["pins"]] == ["an output of the model"]
    assert [row["tensor"] for row in inputs["axes"][0]["coupled"]] == ["first.weight", "first.bias"]

"""Modules of the model where options take names of layers: they mean what their names mean."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(6, 16)
        self.block = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
        self.head = nn.Linear(16, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.head(self.block(self.one(x).relu()).relu()).relu())


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def graph(net: Net) -> gp.DependencyGraph:
    return gp.trace(net, torch.randn(2, 6))


def widths(graph: gp.DependencyGraph, **options: Any) -> dict[str, int]:
    made = gp.plan(graph, **{"ratio": 0.5, "align": 1, **options}).plan
    return {name: len(kept) for name, kept in made.groups.items()}


ALL = {"one.weight:0": 8, "block.0.weight:0": 8, "block.2.weight:0": 8, "head.weight:0": 4}


@pytest.mark.parametrize(
    "protect",
    [
        "head",
        ["head"],
        ("head.*",),
        lambda net: net.head,
        lambda net: [net.head],
        lambda net: (net.head.weight,),
    ],
)
def test_a_layer_is_protected_however_it_is_named(net: Net, graph: gp.DependencyGraph, protect: Any) -> None:
    given = protect(net) if callable(protect) else protect
    assert widths(graph, protect=given) == {**ALL, "block.2.weight:0": 16, "head.weight:0": 8}


@pytest.mark.parametrize(
    "protect", ["block", "block.*", lambda net: net.block, lambda net: list(net.block)[::2]]
)
def test_a_container_is_all_that_is_in_it(net: Net, graph: gp.DependencyGraph, protect: Any) -> None:
    given = protect(net) if callable(protect) else protect
    expected = {**ALL, "one.weight:0": 16, "block.0.weight:0": 16, "block.2.weight:0": 16}
    assert widths(graph, protect=given) == expected


def test_the_whole_model_is_everything(net: Net, graph: gp.DependencyGraph) -> None:
    assert set(widths(graph, protect=net).values()) == {16, 8}
    assert widths(graph, protect=net)["head.weight:0"] == 8


def test_ratios_take_modules_too(net: Net, graph: gp.DependencyGraph) -> None:
    found = gp.plan(graph, ratio=0.5, align=1, ratios={net.head: "25%", "one": 0.0}).plan
    assert {name: len(kept) for name, kept in found.groups.items()} == {
        **ALL,
        "one.weight:0": 16,
        "head.weight:0": 6,
    }
    assert found.request["ratios"] == {"head": 0.25, "one": 0.0}


@pytest.mark.parametrize(
    "ties", [["one,block.0"], [["one", "block.0"]], lambda net: [[net.one, net.block[0]]]]
)
def test_ties_take_modules_too(net: Net, graph: gp.DependencyGraph, ties: Any) -> None:
    found = widths(graph, ratio=0.25, ratios={"one": 0.5}, ties=ties(net) if callable(ties) else ties)
    assert found == {"one.weight:0": 8, "block.0.weight:0": 8, "block.2.weight:0": 12, "head.weight:0": 6}


def test_a_plan_records_names(net: Net) -> None:
    result = gp.shrink(net, torch.randn(2, 6), ratio=0.5, align=1, protect=[net.head, "one"])
    assert result.plan.request["protect"] == ["head", "one"]
    assert gp.Plan.from_json(result.plan.to_json()).request == result.plan.request


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"protect": [nn.Linear(1, 1)]},
            r"protect holds a Linear\(.*\) that is no part of the model — give a module",
        ),
        ({"protect": nn.Sequential(nn.ReLU())}, r"protect holds a Sequential that is no part of the model"),
        ({"protect": torch.ones(3)}, r"protect holds a Tensor \(3,\) that is no part of the model"),
        ({"protect": [3]}, "protect holds 3, a int — give names of layers, or modules"),
        ({"protect": 3}, "protect=3 names no layers"),
        ({"ratios": {nn.ReLU(): 0.5}}, r"ratios holds a ReLU\(\) that is no part of the model"),
        ({"protect": "haed"}, "protect='haed' matches no layer — did you mean head"),
        ({"ratios": {"haed": 0.5}}, "ratios='haed' matches no layer — did you mean head"),
        ({"ignored_layers": ["head"]}, "there is no option 'ignored_layers' — did you mean protect"),
    ],
)
def test_what_names_nothing_is_refused_in_one_line(
    graph: gp.DependencyGraph, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(gp.InputError, match=message) as caught:
        gp.plan(graph, ratio=0.5, **options)
    assert "\n" not in str(caught.value)


def test_one_layer_has_one_ratio(net: Net, graph: gp.DependencyGraph) -> None:
    with pytest.raises(gp.InputError, match="ratios gives 'head' two values"):
        gp.plan(graph, ratio=0.5, ratios={net.head: 0.25, "head": 0.5})

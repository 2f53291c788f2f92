"""The latency model from given times: rates are found again, and what is timed alone is the layer it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune import exporting
from graphprune.exporting import NodeTime
from graphprune.profiling import latency, lone_layers
from graphprune.profiling.lone_layers import LoneLayer, lone_layer, time_alone


class Everything(nn.Module):
    """One layer of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, stride=2, padding=1)
        self.depthwise, self.grouped = (
            nn.Conv2d(32, 32, 3, groups=32, padding="same"),
            nn.Conv2d(32, 48, 1, groups=4),
        )
        self.up = nn.ConvTranspose2d(48, 24, 2, stride=2)
        self.flat = nn.Conv1d(24, 32, 3, dilation=2)
        self.query, self.out = nn.Linear(32, 96), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.grouped(self.depthwise(self.first(x).relu())).relu())
        x = self.flat(x.flatten(2)).transpose(1, 2)
        q, k, v = self.query(x).unflatten(-1, (3, 4, 8)).permute(2, 0, 3, 1, 4)
        x = nn.functional.scaled_dot_product_attention(q, k, v)
        x = torch.matmul(torch.softmax(torch.matmul(x, k.transpose(-2, -1)), -1), v)
        return self.out(x.transpose(1, 2).flatten(2))


@pytest.fixture(scope="module")
def graph() -> gp.DependencyGraph:
    torch.manual_seed(0)
    return gp.trace(Everything().eval(), torch.zeros(2, 3, 12, 12))


def found(graph: gp.DependencyGraph, sizes: dict[Any, int]) -> list[LoneLayer]:
    unit = graph.batch_sizes(dict.fromkeys(graph.program.batch_primes, 2))
    return [
        lone_layer(graph, item.layer.operation, {**unit, **sizes}) for item in latency.timed_layers(graph)
    ]


def test_every_kind_is_found_and_runs(graph: gp.DependencyGraph) -> None:
    whole = found(graph, {})
    assert [layer.form for layer in whole] == [
        *["Conv"] * 3,
        "ConvTranspose",
        "Conv",
        "linear",
        "attention",
        *["matmul"] * 2,
        "linear",
    ]
    assert dict(whole[1].settings)["group"] == 32
    half = found(graph, {group.atom: max(group.size // 2, 1) for group in graph.groups})
    assert dict(half[1].settings)["group"] == half[1].shapes[0][1] < 32
    times = time_alone([*whole, *half], threads=1)
    assert set(times) == {*whole, *half}
    assert all(spent > 0 for spent in times.values())


def test_equal_layers_are_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def node_times(model: bytes, feed: Any, runs: int, threads: int) -> tuple[NodeTime, ...]:
        asked.append(len(feed))
        return tuple(NodeTime(f"n{place}_nchwc", "Conv", (1.0, 2.0, 9.0)) for place in range(len(feed)))

    monkeypatch.setattr(exporting, "node_times", node_times)
    one, other = (LoneLayer("linear", ((1, 4, 8), (width, 8)), (False, True)) for width in (8, 16))
    assert time_alone([one, other, one], 1) == {one: 2.0, other: 2.0}
    assert asked == [2]


def test_the_rates_are_found_again(graph: gp.DependencyGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every layer takes so much for each multiply-accumulate and element, so does the model."""
    timed = {item.layer.operation.name: item for item in latency.timed_layers(graph)}

    def rates(graph: Any, items: Sequence[Any], scales: Any, threads: int) -> list[tuple[float, float]]:
        return [
            latency.fitted_rates(
                [item.amounts(sizes) for sizes in scales],
                [numpy.dot(item.amounts(sizes), (2e-6, 3e-5)) for sizes in scales],
            )
            for item in items
        ]

    monkeypatch.setattr(latency, "layer_rates", rates)
    unit = graph.batch_sizes(dict.fromkeys(graph.program.batch_primes, 1))
    alone = sum(numpy.dot(item.amounts(unit), (2e-6, 3e-5)) for item in timed.values())
    nodes = (NodeTime("c", "FusedConv", (alone * 2,)), NodeTime("r", "Relu", (1.0,)))
    cost = latency.latency_cost(graph, nodes, 1, 1)
    assert cost.value({}) == pytest.approx(alone * 2 + 1.0)
    half = {group.atom: max(group.size // 2, 1) for group in graph.groups}
    layers = sum(numpy.dot(item.amounts({**unit, **half}), (4e-6, 6e-5)) for item in timed.values())
    assert layers < cost.value(half) < layers + 1.0


@pytest.mark.parametrize(
    ("amounts", "times", "rates"),
    [
        ([(10, 1), (5, 1)], [21, 11], (2, 1)),
        ([(10, 1), (5, 1)], [10, 4], (0.9, 0)),  # an element cannot take less than no time
        ([(10, 1), (5, 1)], [1, 1.5], (0, 1.2)),
    ],
)
def test_rates_are_not_negative(amounts: Any, times: Any, rates: tuple[float, float]) -> None:
    assert latency.fitted_rates(amounts, times) == pytest.approx(rates, rel=0.05, abs=1e-9)


def test_a_product_with_few_heads_is_repeated() -> None:
    layer = LoneLayer("attention", ((1, 8, 5, 4), (1, 2, 5, 4), (1, 2, 5, 6)), (False,) * 3)
    assert lone_layers.onnx_shapes(layer) == ((1, 8, 5, 4), (1, 8, 4, 5), (1, 8, 5, 6))

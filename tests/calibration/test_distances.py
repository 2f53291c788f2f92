"""Distances of outputs: each output counts alike, and repair, sensitivity and "auto" measure the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.calibration import Calibration, Distance
from graphprune.calibration.distances import Difference
from graphprune.planning import make_plan
from graphprune.repair import Repair, repair
from graphprune.rewriting import rewrite


class TwoHeads(nn.Module):
    """Scores a thousand times as large as boxes, and an output of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 8)
        self.scores, self.boxes = nn.Linear(8, 5), nn.Linear(8, 4)
        with torch.no_grad():
            self.scores.weight.mul_(1e3)
            self.scores.weight[:, :4] = 0  # what the first units give, boxes alone see
            self.boxes.weight[:, 4:] = 0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = torch.relu(self.body(x))
        return self.scores(h), self.boxes(h), 0.0 * x


@pytest.fixture
def graph() -> gp.DependencyGraph:
    torch.manual_seed(0)
    return gp.trace(TwoHeads().eval(), torch.randn(2, 6))


X = torch.randn(40, 6, generator=torch.Generator().manual_seed(3))


def without(graph: gp.DependencyGraph, *units: int) -> gp.Plan:
    kept = torch.tensor([unit for unit in range(8) if unit not in units])
    return make_plan(graph, {graph.groups[0].name: kept})


def test_no_output_drowns_another(graph: gp.DependencyGraph) -> None:
    """All that boxes see is worse to lose than a quarter of what scores see, whatever their scales are."""
    distance = Distance(graph.program, X)
    boxes = distance(rewrite(graph, without(graph, 0, 1, 2, 3)))
    scores = distance(rewrite(graph, without(graph, 4)))
    assert boxes > scores > 0
    # both are relative to the same three outputs, of which the last is zero and stays so
    model = graph.program.model
    assert model is not None
    with torch.no_grad():
        own = model(X)
        ratio = (own[1] - model.boxes.bias).square().sum() / own[1].square().sum()
    assert boxes == pytest.approx(float(ratio / 3) ** 0.5, rel=1e-5)


@pytest.mark.parametrize("units", [(0, 1, 2, 3), (4, 5), (1, 6)])
def test_a_repair_measures_what_auto_and_sensitivity_measure(
    graph: gp.DependencyGraph, units: tuple[int, ...]
) -> None:
    plan = without(graph, *units)
    slim = rewrite(graph, plan)
    _, report = repair(graph, plan, slim, Calibration([X]), Repair())
    assert report.before == pytest.approx(Distance(graph.program, [X])(slim) ** 2, rel=1e-12)


def test_batches_and_kinds() -> None:
    own, slim = torch.randn(6, 3), torch.randn(6, 3)
    for kind in ("l2", "kl"):
        whole, parts, twice = Difference(kind), Difference(kind), Difference(kind)
        whole.add([own], [slim])
        for piece in (slice(4), slice(4, None)):
            parts.add([own[piece]], [slim[piece]])
        twice.add([own, own.repeat(5, 1)], [slim, slim.repeat(5, 1)])
        assert parts.value == pytest.approx(whole.value)
        assert twice.value == pytest.approx(whole.value)  # an output of more rows does not count more
    zeros = Difference()
    zeros.add([torch.zeros(4)], [torch.zeros(4)])
    assert zeros.value == 0

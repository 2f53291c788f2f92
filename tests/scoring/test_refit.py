"""The criterion for repairs: what is lost once consumers are refitted, biases too, where it counts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp
from graphprune.scoring.reconstruction import marginal


class Net(nn.Module):
    """A layer whose outputs count 1, 10 and 0 times in what is returned."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(7, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.relu(self.up(x))) * torch.tensor([1.0, 10.0, 0.0], dtype=x.dtype)


def case() -> tuple[Net, gp.DependencyGraph, Tensor]:
    torch.manual_seed(0)
    model = Net().double().eval()
    x = torch.randn(3000, 7, dtype=torch.float64)
    return model, gp.trace(model, x[:2]), x


def scores(graph: gp.DependencyGraph, data: object, name: str = "refit", **more: object) -> Tensor:
    found = gp.Criterion(name, calibration=data, **more)(graph, graph.program.tensors, 0)["up.weight:0"]
    assert found is not None
    return found


def lost(model: Net, x: Tensor, kept: list[int]) -> float:
    """Of the outputs that count, by least squares with a bias on the rows themselves."""
    with torch.no_grad():
        h, y = F.relu(model.up(x)), model(x)
        regressors = torch.cat([h[:, kept], torch.ones(len(x), 1, dtype=x.dtype)], 1)
        return float((y - regressors @ torch.linalg.lstsq(regressors, y).solution).square().sum() / len(x))


def test_scores_are_the_loss_that_refits_leave() -> None:
    model, graph, x = case()
    found = scores(graph, [x]) / len(x)  # of the loss of a batch
    order = found.argsort().tolist()
    singles = [lost(model, x, [other for other in range(5) if other != unit]) for unit in range(5)]
    assert order[0] == singles.index(min(singles))
    total = 0.0
    for removed in (1, 2):
        total += float(found[order[removed - 1]])
        assert total == pytest.approx(lost(model, x, order[removed:]), rel=1e-2)  # its ridge


def test_shrunk_keeps_an_idle_unit_that_its_consumers_weigh() -> None:
    model, _, x = case()
    with torch.no_grad():
        model.up.bias[3] = -100.0  # never active on these data
        model.up.weight.copy_(torch.randn(5, 7, generator=torch.Generator().manual_seed(1)))
        model.down.weight.copy_(torch.tensor([0.5, 0.3, 0.5, 1.0, 0.5]).expand(3, 5))
    graph = gp.trace(model, x[:2])
    assert scores(graph, [x]).argsort().tolist()[0] == 3
    shrunk = scores(graph, [x], "refit_shrunk").argsort().tolist()
    assert shrunk[0] == 1
    assert shrunk[-1] == 3


def test_a_unit_that_only_a_dead_output_reads_costs_nothing() -> None:
    model, _, x = case()
    with torch.no_grad():
        model.down.weight[:2, 3] = 0.0
        model.down.weight[2, 3] = 50.0
    found = scores(gp.trace(model, x[:2]), x)
    assert int(found.argmin()) == 3
    assert float(found[3]) < 1e-9


def test_a_constant_unit_costs_nothing() -> None:
    model, _, x = case()
    with torch.no_grad():
        model.up.weight[2], model.up.bias[2] = 0.0, 3.0
    graph = gp.trace(model, x[:2])
    assert int(scores(graph, x).argmin()) == 2
    whole = gp.Criterion("reconstruction", calibration=x)(graph, graph.program.tensors, 0)["up.weight:0"]
    assert whole is not None
    assert int(whole.argmin()) != 2  # without a bias it is missed


def test_the_loss_says_which_outputs_count() -> None:
    model, graph, x = case()
    found = scores(graph, x, loss=lambda y: y[:, 0].sum())
    with torch.no_grad():
        model.down.weight[1] = 0.0
    torch.testing.assert_close(found, scores(gp.trace(model, x[:2]), x))


def test_batches_of_any_size_give_the_same_but_for_their_size() -> None:
    _, graph, x = case()
    torch.testing.assert_close(scores(graph, list(x.split(60))), scores(graph, list(x.split(100))) * 0.6)


def test_marginal() -> None:
    errors = torch.tensor([5.0, 1.0, 9.0, 2.0, 6.0])
    torch.testing.assert_close(marginal(errors), torch.tensor([3.0, 1.0, 3.0, 1.0, 3.0]))


@pytest.mark.parametrize("shape", [(3, 8, 8)])
def test_it_judges_every_kind_of_consumer(shape: tuple[int, ...]) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=2),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 2),
        nn.Conv2d(4, 2, 1),
    ).eval()
    x = torch.randn(8, *shape)
    graph = gp.trace(model, x[:2])
    found = gp.Criterion("refit", calibration=x)(graph, graph.program.tensors, 0)
    assert all(score is not None and bool((score > 0).all()) for score in found.values())
    result = gp.shrink(
        model, x[:2], macs=0.6, importance="refit", ranking="per_cost", calibration=x, repair=True
    )
    assert result.verdict.passed

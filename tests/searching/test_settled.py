"""What a shrink without options does: it makes data, chooses, repairs, judges; and says what became of the answers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.calibration import Fidelity
from graphprune.searching import meet, settled
from graphprune.searching.settled import settle
from models_zoo import get, load

pytestmark = pytest.mark.default


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphprune.synthetic.made.MOST_STEPS", 60)


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 5)).eval()


X = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
DATA = [torch.randn(8, 6, generator=torch.Generator().manual_seed(seed)) for seed in range(16)]


def test_a_network_keeps_its_accuracy_without_data_and_without_options() -> None:
    zoo = get("digits_resnet")
    model, inputs = load("digits_resnet"), zoo.example_inputs(1)
    fast = gp.shrink(model, inputs, macs=0.5, fast=True)
    found = gp.shrink(model, inputs, macs=0.5)
    accuracy = {
        name: zoo.evaluate(made)["accuracy"] for name, made in (("fast", fast.model), ("", found.model))
    }
    assert accuracy[""] > 0.97
    assert accuracy["fast"] < 0.6
    assert found.fidelity is not None
    assert found.fidelity.held_out
    assert not found.fidelity.is_poor
    assert found.fidelity.data == "synthetic data (image, shaped by the batch norms' statistics)"
    assert fast.fidelity is None
    assert found.verdict.passed


def test_the_same_at_every_call() -> None:
    found, again = (gp.shrink(small(), X, macs=0.5) for _ in range(2))
    for one, other in zip(found.model.state_dict().values(), again.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_named_importance_is_taken_at_its_word() -> None:
    named = gp.shrink(small(), X, macs=0.5, importance="l2")
    assert named.repair is None
    assert named.fidelity is None
    assert named.plan.to_json() == gp.shrink(small(), X, macs=0.5, fast=True).plan.to_json()
    repaired = gp.shrink(small(), X, macs=0.5, importance="l2", repair=True)
    assert repaired.repair is not None
    assert repaired.fidelity is not None
    assert repaired.plan.groups.keys() == named.plan.groups.keys()


def test_data_of_the_user_s_are_taken_and_one_batch_in_eight_is_held_out() -> None:
    found = gp.shrink(small(), X, macs=0.5, calibration=DATA)
    assert found.fidelity is not None
    assert (found.fidelity.data, found.fidelity.held_out) == ("your calibration data", True)
    assert found.fidelity.examples == 16
    assert found.repair is not None
    assert found.repair.batches == 14
    few = gp.shrink(small(), X, macs=0.5, calibration=DATA[:3]).fidelity
    assert few is not None
    assert not few.held_out


@pytest.mark.parametrize(
    ("name", "share"),
    [("mtcnn_rnet", 0.7), ("mtcnn_rnet", 0.3), ("digits_cnn_mnist", 0.3), ("digits_resnet", 0.2)],
)
def test_never_worse_than_by_weights_alone(name: str, share: float) -> None:
    """On data that nothing has seen."""
    model, inputs = load(name), get(name).example_inputs(1)
    graph = gp.trace(model, inputs)
    found = gp.shrink(graph, macs=share)
    plain = gp.shrink(graph, macs=share, fast=True)
    request = settled.Request(macs=share)
    judge = settle(graph, request, meet.Clock()).judge
    assert judge is not None
    assert found.fidelity is not None
    assert found.fidelity.error <= judge(graph.program, plain.slim).error


def test_weights_alone_are_taken_where_they_are_nearer(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = iter([0.4, 0.1])

    def judged(*given: Any) -> Fidelity:
        return Fidelity(next(figures), None, 8, "synthetic data (features)", True)

    monkeypatch.setattr(settled.Judge, "__call__", judged)
    found = gp.shrink(small(), X, macs=0.5)
    assert found.repair is None
    assert found.plan.request["importance"] == "l2"
    assert found.fidelity is not None
    assert found.fidelity.error == 0.1
    assert found.verdict.passed


def test_where_no_data_can_be_made_it_says_so_and_goes_by_weights() -> None:
    class Answers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = small()

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x).argmax(-1)

    found = gp.shrink(Answers().eval(), X, macs=0.5)
    assert found.notes == ("chosen by weights alone: no output of the model is floating",)
    assert found.fidelity is None
    with pytest.raises(gp.InputError, match="repair looks at data, and none can be made: no output"):
        gp.shrink(Answers().eval(), X, macs=0.5, importance="l2", repair=True)


def test_without_a_repair_if_that_is_said() -> None:
    found = gp.shrink(small(), X, macs=0.5, repair=False)
    assert found.repair is None
    assert found.fidelity is not None


def test_other_data_than_the_model_can_run_are_named() -> None:
    with pytest.raises(gp.InputError, match="outputs for calibration batch 2 are not finite"):
        gp.shrink(small(), X, macs=0.5, calibration=[DATA[0], DATA[1] * float("nan")])


@pytest.mark.parametrize("ranking", ["uniform", "isomorphic"])
def test_a_ranking_that_is_given_is_taken(ranking: str) -> None:
    found = gp.shrink(small(), X, macs=0.5, ranking=ranking, calibration=DATA)
    assert found.plan.request["ranking"] == ranking
    assert {name.rpartition(", ")[2] for name in found.plan.request["tried"]} == {ranking}


def test_a_dear_model_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphprune.searching.auto.MADE_TRIES", 1)
    found = gp.shrink(small(), X, macs=0.5)
    assert "tried" not in found.plan.request
    assert found.plan.request["importance"] == "l2"
    assert found.plan.request["ranking"] == "isomorphic"
    assert found.repair is not None

"""What a loss is called with: the outputs, and the batch or its labels."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp
from graphprune.calibration import call_loss
from graphprune.calibration.batches import Calibration, gradients

OUTPUTS = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.5]], requires_grad=True)
LABELS = torch.tensor([2, 1])
BATCH = (torch.ones(2, 4), LABELS)


def own(outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(outputs, batch[1])


def labelled(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs, labels)


@pytest.mark.parametrize(
    "loss",
    [F.cross_entropy, nn.CrossEntropyLoss(), partial(F.cross_entropy, reduction="mean"), own, labelled],
)
def test_labels_reach_a_loss_that_takes_them(loss: Any) -> None:
    expected = F.cross_entropy(OUTPUTS, LABELS)
    assert torch.equal(call_loss(loss, OUTPUTS, BATCH, LABELS), expected)


@pytest.mark.parametrize("outputs", [{"logits": OUTPUTS}, (OUTPUTS,), [None, OUTPUTS]])
def test_the_only_output_is_the_input_of_torchs_losses(outputs: Any) -> None:
    assert torch.equal(call_loss(F.cross_entropy, outputs, BATCH, LABELS), F.cross_entropy(OUTPUTS, LABELS))


def test_a_loss_of_ones_own_gets_the_outputs_as_they_are() -> None:
    def loss(outputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs["logits"], labels)

    assert torch.equal(call_loss(loss, {"logits": OUTPUTS}, BATCH, LABELS), F.cross_entropy(OUTPUTS, LABELS))


def test_a_loss_of_the_outputs_alone() -> None:
    assert call_loss(lambda outputs: outputs.sum(), OUTPUTS, BATCH, LABELS).item() == 4.5


def test_missing_labels_are_said() -> None:
    with pytest.raises(
        gp.InputError, match="the loss takes labels, as its second argument 'target', and the batches"
    ):
        call_loss(F.cross_entropy, OUTPUTS, BATCH[0])


def test_gradients_are_those_of_the_loss() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    x, y = torch.randn(5, 4), torch.randint(0, 3, (5,))
    program = gp.trace(model, x).program
    found = next(gradients(program, program.tensors, Calibration([[x, y]], F.cross_entropy))).parameters
    F.cross_entropy(model(x), y).backward()
    assert set(found) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name][1], parameter.grad)


@pytest.mark.parametrize("loss", [F.cross_entropy, nn.CrossEntropyLoss()])
def test_torchs_losses_choose_the_units_that_a_function_of_the_batch_chooses(loss: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    data = [(torch.randn(8, 4), torch.randint(0, 3, (8,))) for _ in range(2)]
    one, other = (
        gp.plan(
            model, torch.randn(2, 4), ratio=0.5, importance="taylor", calibration=data, loss=given
        ).plan.groups
        for given in (loss, own)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_tuning_takes_them_too() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    data = [(torch.randn(8, 4), torch.randint(0, 3, (8,))) for _ in range(2)]
    result = gp.shrink(model, torch.randn(2, 4), ratio=0.5, align=1)
    settings = gp.Tuning(steps=3, distillation=0)
    one, other = (gp.tune(result, data, settings, loss=loss).model for loss in (F.cross_entropy, own))
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)

"""Which units are dead, one kind after the other, and which stay and why."""

from __future__ import annotations

import pytest
import torch
from lossless_models import DIGIT, IMAGE, LeNet, Residual, kept, lively, removed, shrunk, stayed
from torch import Tensor, nn

import graphprune as gp


@pytest.fixture
def lenet() -> LeNet:
    model = lively(LeNet())
    assert isinstance(model, LeNet)
    return model


@pytest.fixture
def residual() -> Residual:
    model = lively(Residual())
    assert isinstance(model, Residual)
    return model


@torch.no_grad()
def test_zero_units_go(lenet: LeNet) -> None:
    lenet.conv2.weight[[1, 4]] = 0
    lenet.conv2.bias[[1, 4]] = 0
    result = shrunk(lenet, DIGIT)
    assert removed(result) == {"conv2.weight:0": {"zero": 2}}
    assert result.model.conv2.weight.shape[0] == 14
    assert result.model.fc1.weight.shape == (40, 14 * 9)


@torch.no_grad()
def test_constants_go_into_the_next_bias(lenet: LeNet) -> None:
    lenet.conv1.weight[2] = 0
    lenet.conv1.bias[2] = 0.7
    lenet.fc2.weight[[3, 5]] = 0
    lenet.fc2.bias[[3, 5]] = torch.tensor([0.4, -0.4])  # the second is dead behind the ReLU
    before = {name: tensor.clone() for name, tensor in lenet.state_dict().items()}
    result = shrunk(lenet, DIGIT)
    assert removed(result) == {
        "conv1.weight:0": {"constant": 1},
        "fc2.weight:0": {"zero": 1, "constant": 1},
    }
    expected = before["conv2.bias"] + 0.7 * before["conv2.weight"][:, 2].sum((1, 2))
    torch.testing.assert_close(result.model.conv2.bias.detach(), expected)
    assert all(torch.equal(before[name], tensor) for name, tensor in lenet.state_dict().items())


@torch.no_grad()
def test_units_that_nobody_reads_go_with_those_that_feed_only_them(lenet: LeNet) -> None:
    lenet.fc3.weight[:, 7] = 0
    lenet.fc2.weight[:, 11] = 0
    lenet.fc2.weight[7, 12] = 1.0
    lenet.fc2.weight[:7, 12] = 0
    lenet.fc2.weight[8:, 12] = 0  # unit 12 feeds unit 7 alone
    result = shrunk(lenet, DIGIT)
    assert removed(result) == {"fc1.weight:0": {"unread": 2}, "fc2.weight:0": {"unread": 1}}
    assert 12 not in kept(result)["fc1.weight:0"]


@torch.no_grad()
def test_repeated_units_are_merged_and_so_are_those_that_repeat_then(lenet: LeNet) -> None:
    lenet.conv1.weight[4], lenet.conv1.bias[4] = lenet.conv1.weight[1], lenet.conv1.bias[1]
    # channels 0 and 3 differ only in which copy they read
    lenet.conv2.weight[3], lenet.conv2.bias[3] = lenet.conv2.weight[0], lenet.conv2.bias[0]
    lenet.conv2.weight[3, 1], lenet.conv2.weight[3, 4] = lenet.conv2.weight[0, 4], lenet.conv2.weight[0, 1]
    result = shrunk(lenet, DIGIT)
    assert removed(result) == {"conv1.weight:0": {"repeated": 1}, "conv2.weight:0": {"repeated": 1}}
    assert kept(result)["conv1.weight:0"] == [0, 1, 2, 3, 5]


@torch.no_grad()
def test_nearly_the_same_is_not_the_same(lenet: LeNet) -> None:
    lenet.conv1.weight[4], lenet.conv1.bias[4] = lenet.conv1.weight[1], lenet.conv1.bias[1]
    lenet.conv1.bias[4] += 1e-6
    lenet.fc2.weight[3], lenet.fc2.weight[3, 0] = 0, 1e-30
    assert removed(shrunk(lenet, DIGIT)) == {}


@torch.no_grad()
def test_scales_of_zero_make_constants_and_a_layer_gets_a_bias(residual: Residual) -> None:
    block = residual.blocks[0]
    block.bn1.weight[[2, 9]] = 0
    block.bn1.bias[[2, 9]] = torch.tensor([0.5, -0.5])
    result = shrunk(residual, IMAGE)
    assert removed(result) == {"blocks.0.conv1.weight:0": {"zero": 1, "constant": 1}}
    assert block.conv2.bias is None
    layer = result.model.get_submodule("blocks.0.conv2")
    assert isinstance(layer, nn.Conv2d)
    torch.testing.assert_close(layer.bias.detach(), 0.5 * block.conv2.weight[:, 2, 0, 0])
    assert layer.bias.requires_grad


@torch.no_grad()
def test_a_unit_of_a_residual_stream_goes_if_all_that_feed_it_are_dead(residual: Residual) -> None:
    norms = [residual.bn, residual.blocks[0].bn2, residual.blocks[1].bn2]
    for norm in norms[:2]:
        norm.weight[3] = norm.bias[3] = 0
    assert removed(shrunk(residual, IMAGE)) == {}
    norms[2].weight[3] = 0
    norms[2].bias[3] = -2.0
    assert removed(shrunk(residual, IMAGE)) == {"stem.weight:0": {"zero": 1}}


@torch.no_grad()
def test_padding_keeps_a_constant(residual: Residual) -> None:
    for norm in (residual.bn, residual.blocks[0].bn2, residual.blocks[1].bn2):
        norm.weight[3] = 0
        norm.bias[3] = 0.25
    result = shrunk(residual, IMAGE)
    assert removed(result) == {}
    (reasons,) = stayed(result).values()
    assert set(reasons) == {"the padding of blocks.1.conv1 makes the constant differ at its border"}
    for block in residual.blocks:
        block.conv1.padding = (0, 0)
        block.conv1.weight.data = block.conv1.weight[:, :, 1:2, 1:2].clone()
        block.conv1.kernel_size = (1, 1)
    assert removed(shrunk(residual, IMAGE)) == {"stem.weight:0": {"constant": 1}}


class Shared(nn.Module):
    """One layer, called twice on different units."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(5, 8), nn.Linear(5, 8)
        self.both = nn.Linear(8, 3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.both(torch.relu(self.one(x))) * self.both(torch.tanh(self.two(x)))


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_a_bias_of_two_calls_takes_no_constant(bias: bool) -> None:
    model = lively(Shared(bias))
    assert isinstance(model, Shared)
    for layer in (model.one, model.two):
        layer.weight[4] = 0
        layer.bias[4] = 0.5
    result = shrunk(model, (2, 5))
    assert removed(result) == {}
    (reason,) = stayed(result)["one.weight:0"]
    assert reason.startswith("both has ")
    for layer in (model.one, model.two):
        layer.bias[4] = 0
    assert removed(shrunk(model, (2, 5))) == {"one.weight:0": {"zero": 1}}


@torch.no_grad()
def test_norms_over_units_keep_dead_ones() -> None:
    model = lively(nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 4)))
    model[0].weight[2] = model[0].bias[2] = 0
    model[1].weight[2] = model[1].bias[2] = 0
    result = shrunk(model, (2, 6))
    assert removed(result) == {}
    assert stayed(result) == {"0.weight:0": {"1 normalises over it": 1}}


@torch.no_grad()
def test_a_layer_that_is_dead_as_a_whole_keeps_one_unit(lenet: LeNet) -> None:
    lenet.fc2.weight.zero_()
    lenet.fc2.bias.zero_()
    result = shrunk(lenet, DIGIT)
    assert result.model.fc2.weight.shape == (1, 1)
    assert stayed(result)["fc2.weight:0"] == {"every group keeps a unit": 1}


@torch.no_grad()
def test_align_min_keep_and_protect_are_kept(lenet: LeNet) -> None:
    lenet.conv2.weight[:5] = 0
    lenet.conv2.bias[:5] = 0
    lenet.conv1.weight[0] = lenet.conv1.bias[0] = 0
    result = shrunk(lenet, DIGIT, align=4, protect=("conv1",))
    assert {name: len(units) for name, units in kept(result).items()} == {"conv2.weight:0": 12}
    assert stayed(result) == {
        name: {"align, min_keep or protect ask for it": 1} for name in ("conv1.weight:0", "conv2.weight:0")
    }


def test_nothing_dead_is_no_error(residual: Residual) -> None:
    result = shrunk(residual, IMAGE)
    assert result.lossless.units == 0
    assert result.before == result.after
    assert result.lossless.groups == result.lossless.tensors == ()


@torch.no_grad()
def test_in_float64_to_the_last_digits(residual: Residual) -> None:
    model = residual.double()
    model.blocks[1].bn1.weight[:4] = 0
    result = shrunk(model, IMAGE)
    (gone,) = removed(result).values()
    assert sum(gone.values()) == 4


@torch.no_grad()
def test_a_plan_replays_until_the_weights_change(lenet: LeNet) -> None:
    lenet.fc2.weight[3] = 0
    result = shrunk(lenet, DIGIT)
    plan = gp.Plan.from_json(result.plan.to_json())
    again = gp.shrink(lenet, torch.zeros(DIGIT), plan=plan)
    for name, tensor in result.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
    lenet.fc2.weight[3] = 1
    with pytest.raises(gp.PlanError, match="other units are dead"):
        gp.shrink(lenet, torch.zeros(DIGIT), plan=plan)


def test_two_budgets_are_refused(lenet: LeNet) -> None:
    with pytest.raises(gp.InputError, match="ratio and lossless are given together"):
        gp.shrink(lenet, torch.zeros(DIGIT), lossless=True, ratio=0.5)

"""The slim model is an ordinary model: it trains, switches modes, and keeps the original's names."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from black_box import (
    randomise,
    reproducible,  # noqa: F401  (a fixture)
    shrunk,
)
from torch import Tensor, nn

import graphprune as gp

IMAGE = torch.zeros(4, 3, 8, 8)


class Net(nn.Module):
    """Layers as modules and as functions, attributes, ties, a frozen part."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.drop = nn.Conv2d(3, 8, 3, bias=False), nn.Dropout(0.5)
        self.norm = nn.BatchNorm2d(8, momentum=0.5)
        self.gamma = nn.Parameter(torch.rand(8, 1, 1))
        self.scales = nn.ParameterList([torch.rand(10), torch.rand(10)])
        self.weight = nn.Parameter(torch.randn(10, 8))
        self.attention = nn.MultiheadAttention(10, 2, dropout=0.1, batch_first=True)
        self.after, self.head = nn.LayerNorm(10), nn.Linear(10, 4)
        self.frozen = nn.Linear(10, 10)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(F.silu(self.norm(self.conv(x)) * self.gamma)).flatten(2).transpose(1, 2)
        x = F.dropout(F.linear(x, self.weight), 0.25, self.training) * self.scales[0] + self.scales[1]
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(self.after(x + self.frozen(x)).mean(1))


@pytest.fixture(scope="module")
def original() -> nn.Module:
    return randomise(Net())


@pytest.fixture
def slim(original: nn.Module) -> nn.Module:
    return gp.shrink(original, IMAGE, ratio=0.5, importance="random").model


def test_shrinks_exactly() -> None:
    shrunk(Net(), IMAGE)


def test_one_step_changes_every_trainable_parameter_and_no_other(slim: nn.Module) -> None:
    slim.train()
    before = {name: parameter.detach().clone() for name, parameter in slim.named_parameters()}
    optimiser = torch.optim.SGD([p for p in slim.parameters() if p.requires_grad], 0.1)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(4, 3, 8, 8, generator=generator), torch.tensor([0, 1, 2, 3])
    F.cross_entropy(slim(x), y).backward()
    optimiser.step()
    changed = {name for name, p in slim.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name in before if not name.startswith("frozen.")}


def test_training_lowers_the_loss(slim: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(8, 3, 8, 8, generator=generator), torch.arange(8) % 4
    optimiser = torch.optim.AdamW(slim.parameters(), 1e-2)
    before = float(F.cross_entropy(slim.eval()(x), y).detach())
    slim.train()
    for _ in range(40):
        optimiser.zero_grad()
        F.cross_entropy(slim(x), y).backward()
        optimiser.step()
    after = float(F.cross_entropy(slim.eval()(x), y).detach())
    assert after < 0.9 * before


def test_batch_norm_uses_batch_statistics_in_training_only(slim: nn.Module) -> None:
    x = torch.randn(4, 3, 8, 8)
    mean = slim.norm.running_mean.clone()
    slim.eval()
    slim(x)
    assert torch.equal(slim.norm.running_mean, mean)
    slim.train()
    slim(x)
    batch = slim.conv(x).mean((0, 2, 3))
    assert torch.allclose(slim.norm.running_mean, 0.5 * mean + 0.5 * batch, atol=1e-6)
    assert slim.norm.num_batches_tracked == 1


def test_dropout_is_active_in_training_only(slim: nn.Module) -> None:
    x = torch.randn(4, 3, 8, 8)
    slim.eval()
    assert torch.equal(slim(x), slim(x))
    slim.train()
    slim.norm.eval()
    assert not torch.equal(slim(x), slim(x))
    rates = sorted(module.p for module in slim.modules() if isinstance(module, nn.Dropout))
    assert rates == [0.25, 0.5]  # the functional one has become a layer


def test_layers_are_the_originals_by_name_and_kind(original: nn.Module, slim: nn.Module) -> None:
    for name, kind in [
        ("conv", nn.Conv2d),
        ("norm", nn.BatchNorm2d),
        ("drop", nn.Dropout),
        ("head", nn.Linear),
    ]:
        assert type(slim.get_submodule(name)) is kind
    assert slim.norm.momentum == 0.5
    assert slim.after.eps == original.after.eps


def test_state_dict_keys_are_the_originals(original: nn.Module, slim: nn.Module) -> None:
    assert set(slim.state_dict()) <= set(original.state_dict())
    assert {n for n, _ in slim.named_parameters()} == {n for n, _ in original.named_parameters()}


def test_no_tensor_remembers_a_gradient_or_a_graph(slim: nn.Module) -> None:
    for parameter in slim.parameters():
        assert parameter.is_leaf
        assert parameter.grad is None
        assert parameter.is_contiguous()
        assert parameter.untyped_storage().nbytes() == parameter.nbytes


def test_state_dicts_travel_between_copies(slim: nn.Module, tmp_path) -> None:
    copied = copy.deepcopy(slim)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(1)
    x = torch.randn(2, 3, 8, 8)
    assert not torch.allclose(slim(x), copied(x))
    torch.save(slim.state_dict(), tmp_path / "slim.pt")
    copied.load_state_dict(torch.load(tmp_path / "slim.pt", weights_only=True))
    assert torch.equal(slim(x), copied(x))


def test_copies_know_which_buffers_are_persistent() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(6, 10), nn.Linear(10, 4)
            self.register_buffer("scale", torch.rand(10), persistent=False)
            self.register_buffer("shift", torch.rand(10))

        def forward(self, x: Tensor) -> Tensor:
            return self.down(self.up(x) * self.scale + self.shift)

    slim = shrunk(Scaled(), torch.zeros(2, 6)).model
    copied = copy.deepcopy(copy.deepcopy(slim))
    assert set(copied.state_dict()) == set(slim.state_dict())
    assert "scale" not in slim.state_dict()
    assert torch.equal(copied.scale, slim.scale)
    copied.load_state_dict(slim.state_dict())
    assert type(copied).__name__ == type(slim).__name__ == "SlimModel"


def test_a_copy_trains_on_its_own(slim: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in slim.state_dict().items()}
    copied = copy.deepcopy(slim).train()
    copied(torch.randn(4, 3, 8, 8)).sum().backward()
    torch.optim.SGD(copied.parameters(), 0.1).step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in slim.state_dict().items())


def test_fine_tuned_weights_can_be_shrunk_further(slim: nn.Module) -> None:
    slim.train()
    slim(torch.randn(4, 3, 8, 8)).sum().backward()
    torch.optim.SGD(slim.parameters(), 0.01).step()
    again = gp.shrink(slim, IMAGE, ratio=0.5)
    assert slim.training
    assert again.after.params < again.before.params
    assert set(again.model.state_dict()) <= set(slim.state_dict())


class Norms(nn.Module):
    """Frozen statistics, no affine parts, no running statistics; group, instance and local norms."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 1, bias=False) for i, o in [(3, 8), (8, 6), (6, 8), (8, 12), (12, 8)]
        )
        self.plain, self.unbiased = nn.BatchNorm2d(8, affine=False), nn.BatchNorm2d(6, eps=1e-3)
        self.instance, self.group = nn.InstanceNorm2d(8, affine=True), nn.GroupNorm(3, 12)
        self.rms, self.head = nn.RMSNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        layers = (self.plain, self.unbiased, self.instance, self.group)
        for conv, norm in zip(self.convs, layers, strict=False):
            x = norm(conv(x)).relu()
        x = self.convs[4](x).permute(0, 2, 3, 1)
        return self.head(self.rms(x)).mean((1, 2))


def test_every_norm_is_exact_and_trains() -> None:
    result = shrunk(Norms(), IMAGE)
    slim = result.model
    slim.train()
    before = {name: parameter.detach().clone() for name, parameter in slim.named_parameters()}
    slim(torch.randn(4, 3, 8, 8)).square().sum().backward()
    torch.optim.SGD(slim.parameters(), 0.1).step()
    still = {name for name, p in slim.named_parameters() if torch.equal(p, before[name])}
    assert still == set()
    assert slim.plain.num_batches_tracked == 1

"""Group lasso: what it measures, what its steps do, and that dead units go without a trace."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from tuning_models import CLASSES, data

import graphprune as gp


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def unit_norms(model: nn.Sequential) -> Tensor:
    """By hand: row, bias and column of every hidden unit."""
    first, last = model[0], model[2]
    return (first.weight.square().sum(1) + first.bias.square() + last.weight.square().sum(0)).sqrt()


def test_the_penalty_is_the_sum_of_the_units_norms() -> None:
    model = mlp()
    penalty = gp.group_lasso(model, torch.randn(2, 3), strength=0.1)
    expected = 0.1 * 6**0.5 * unit_norms(model).sum()  # 3 weights in, a bias, 2 weights out
    torch.testing.assert_close(penalty(), expected)
    mine = torch.autograd.grad(penalty(), list(model.parameters()), allow_unused=True)
    theirs = torch.autograd.grad(expected, list(model.parameters()), allow_unused=True)
    assert mine[3] is None  # the bias of the output belongs to no unit
    for one, other in zip(mine[:3], theirs[:3], strict=True):
        torch.testing.assert_close(one, other)


def test_the_proximal_step_shortens_every_unit_and_stops_at_zero() -> None:
    model = mlp()
    with torch.no_grad():
        for tensor in (model[0].weight[1], model[0].bias[1:2], model[2].weight[:, 1]):
            tensor.mul_(0.01)
    before = unit_norms(model)
    penalty = gp.group_lasso(model, torch.randn(2, 3), strength=0.1)
    penalty.prox_(0.5)
    torch.testing.assert_close(unit_norms(model), (before - 0.5 * 0.1 * 6**0.5).clamp_min(0))
    assert not model[0].weight[1].any()
    assert not model[2].weight[:, 1].any()
    assert torch.isfinite(penalty()).all()
    penalty().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in list(model.parameters())[:3])


def test_weak_units_are_pushed_harder_each_time() -> None:
    model = mlp()
    penalty = gp.group_lasso(model, torch.randn(2, 3), strength=0.1, growth=2.0)
    penalty.grow()
    penalty.grow()
    (strengths,) = penalty.strengths.values()
    order = unit_norms(model).argsort()
    assert strengths[order[0]] == pytest.approx(0.1 + 2 * 0.2)
    assert strengths[order[-1]] == pytest.approx(0.1)
    assert all(one > other for one, other in pairwise(strengths[order].tolist()))


def test_the_threshold_leaves_the_strongest_unit() -> None:
    model = mlp()
    penalty = gp.group_lasso(model, torch.randn(2, 3))
    (norms,) = penalty.norms().values()
    torch.testing.assert_close(norms, unit_norms(model).detach() / 6**0.5)
    assert list(penalty.threshold_(0.0).values()) == [0]
    assert list(penalty.threshold_(1.0).values()) == [3]
    assert int((unit_norms(model) > 0).sum()) == 1


class Attention(nn.Module):
    """Heads, a residual stream, and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Linear(6, 12), nn.LayerNorm(12)
        self.qkv, self.out, self.head = nn.Linear(12, 36), nn.Linear(12, 12), nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, 3, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return self.head(x.mean(1))


class Conv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.inner = nn.Conv2d(12, 16, 3, padding=1)
        self.outer = nn.Conv2d(16, 12, 3, padding=1)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + torch.relu(self.outer(torch.relu(self.inner(x))))
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize(
    ("kind", "strength", "proximal"), [(Conv, 0.1, True), (Conv, 1e-3, False), (Attention, 0.1, True)]
)
def test_units_die_in_training_and_go_without_a_trace(
    kind: type[nn.Module], strength: float, proximal: bool
) -> None:
    torch.manual_seed(0)
    model = kind()
    images, labels = data(96)
    images = images if kind is Conv else images[:, 0]
    penalty = gp.group_lasso(model, images[:2], strength=strength, growth=0.3)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(80):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        (loss if proximal else loss + penalty()).backward()
        optimizer.step()
        if proximal:
            penalty.prox_(1e-2)
        if epoch % 5 == 4:
            penalty.grow()
    dead = penalty.threshold_(0.0 if proximal else 0.05)
    model.eval()
    with torch.no_grad():
        outputs = model(images)
    assert float((outputs.argmax(1) == labels).double().mean()) > 0.9
    result = gp.shrink(model, images[:2], lossless=True)
    assert result.verdict.passed
    assert result.lossless is not None
    assert result.lossless.units >= sum(dead.values()) >= 1
    assert result.after.params < 0.8 * result.before.params
    # other sums of the same numbers, on outputs of about 10
    torch.testing.assert_close(result.model(images), outputs, rtol=1e-5, atol=1e-5)


def test_frozen_and_protected_layers_are_left_alone() -> None:
    model = mlp()
    model[2].requires_grad_(False)
    last = model[2].weight.clone()
    penalty = gp.group_lasso(gp.trace(model, torch.randn(2, 3)), strength=0.1)
    torch.testing.assert_close(
        penalty(), 0.1 * 2 * torch.cat([model[0].weight, model[0].bias[:, None]], 1).norm(dim=1).sum()
    )
    penalty.prox_(1.0)
    assert torch.equal(model[2].weight, last)


def test_refusals() -> None:
    x = torch.randn(2, 3)
    frozen = mlp().requires_grad_(False)
    normed = nn.Sequential(weight_norm(nn.Linear(3, 4)), nn.ReLU(), nn.Linear(4, 2))
    for model, options, message in (
        (mlp(), {"strength": 0.0}, "strength=0"),
        (mlp(), {"growth": -1.0}, "growth=-1"),
        (mlp(), {"protect": ("0",)}, "no units"),
        (frozen, {}, "no units"),
        (normed, {}, "0.weight is computed from other parameters"),
    ):
        with pytest.raises(gp.InputError, match=message):
            gp.group_lasso(model, x, **options)

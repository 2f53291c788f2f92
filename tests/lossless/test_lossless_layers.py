"""Dead units of other layers than plain convolutions: groups, heads, transposed convolutions, norms, tables."""

from __future__ import annotations

import pytest
import torch
from lossless_models import lively, removed, shrunk
from torch import Tensor, nn

import graphprune as gp


class Attention(nn.Module):
    """Four heads of width four."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (4, 4)).transpose(1, 2) for f in (self.q, self.k, self.v))
        return self.o(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


@torch.no_grad()
def test_a_unit_of_every_convolution_group() -> None:
    model = lively(nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 6, 3)))
    model[0].weight[[1, 5]] = 0
    model[0].bias[[1, 5]] = 0
    result = shrunk(model, (2, 4, 9, 9))
    assert removed(result) == {"0.weight:0/1": {"zero": 1}}
    # one group alone cannot be narrower than the others
    model[0].weight[5] = 1
    assert removed(shrunk(model, (2, 4, 9, 9))) == {}


@torch.no_grad()
def test_transposed_convolutions_without_biases() -> None:
    layers = nn.ConvTranspose2d(3, 8, 3, bias=False), nn.ReLU(), nn.ConvTranspose2d(8, 6, 2, 2, bias=False)
    model = lively(nn.Sequential(*layers))
    model[0].weight[:, 2] = 0
    model[0].weight[:, 4] = model[0].weight[:, 5]
    assert removed(shrunk(model, (2, 3, 5, 5))) == {"0.weight:1": {"zero": 1, "repeated": 1}}


def attended(model: nn.Module) -> dict[str, dict[str, int]]:
    x = torch.randn(2, 5, 16)
    result = gp.shrink(model, x, lossless=True)
    assert torch.allclose(model(x), result.model(x), atol=1e-5)
    return removed(result)


@torch.no_grad()
def test_heads_and_widths() -> None:
    model = lively(Attention())
    model.v.weight[4:8] = 0
    model.v.bias[4:8] = 0
    assert attended(model) == {"q.weight:0/0": {"zero": 1}}
    model.k.weight[2::4] = 0
    model.k.bias[2::4] = 0
    assert attended(model) == {"q.weight:0/0": {"zero": 1}, "q.weight:0/1": {"zero": 1}}


@torch.no_grad()
def test_a_head_that_nobody_reads() -> None:
    model = lively(Attention())
    model.o.weight[:, 8:12] = 0
    assert attended(model) == {"q.weight:0/0": {"unread": 1}}


@torch.no_grad()
def test_group_norm_loses_whole_groups_only() -> None:
    model = lively(nn.Sequential(nn.Conv1d(3, 8, 3), nn.GroupNorm(4, 8), nn.Conv1d(8, 4, 1)))
    model[2].weight[:, 3] = 0
    assert removed(shrunk(model, (2, 3, 9))) == {}
    model[2].weight[:, 2] = 0
    assert removed(shrunk(model, (2, 3, 9))) == {"0.weight:0/0": {"unread": 1}}


@torch.no_grad()
def test_columns_of_an_embedding() -> None:
    model = lively(nn.Sequential(nn.Embedding(20, 12), nn.Linear(12, 4)))
    model[0].weight[:, 3] = 0
    model[0].weight[:, 5] = 0.5
    x = torch.randint(0, 20, (2, 7))
    result = gp.shrink(model, x, lossless=True)
    assert removed(result) == {"0.weight:1": {"zero": 1, "constant": 1}}
    assert torch.allclose(model(x), result.model(x), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_narrow_dtypes(dtype: torch.dtype) -> None:
    model = lively(nn.Sequential(nn.Linear(5, 8), nn.Sigmoid(), nn.Linear(8, 3))).to(dtype)
    model[0].weight[3] = 0
    result = gp.shrink(model, torch.randn(2, 5, dtype=dtype), lossless=True)
    assert removed(result) == {"0.weight:0": {"constant": 1}}
    assert all(tensor.dtype == dtype for tensor in result.model.parameters())


def test_what_writes_in_place_stays_as_it_is() -> None:
    class Writing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(5, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.one(x)
            half = y[:, :4]
            half.mul_(2)
            return self.two(y)

    model = lively(Writing())
    with torch.no_grad():
        model.one.weight[2] = model.one.bias[2] = 0
    result = shrunk(model, (2, 5))
    assert removed(result) == {}
    assert "the model writes in place" in str([tensor.stayed for tensor in result.lossless.tensors])

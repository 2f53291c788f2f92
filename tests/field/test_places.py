"""Channels pass where positions are data, windows, frequencies or single: exact, and really smaller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from black_box import (
    pins,
    reproducible,  # noqa: F401  (a fixture)
    shrunk,
    sizes,
)
from torch import Tensor, nn

from models_zoo import torchvision_ops

TOKENS, IMAGE = torch.zeros(2, 8, 5), torch.zeros(2, 5, 8, 8)
Written = Callable[[Any, Tensor], Tensor]


class Between(nn.Module):
    """first → something → second → head, for tokens (layers are linear) or images (they are convolutions)."""

    def __init__(self, between: Written, image: bool) -> None:
        super().__init__()
        self.between, self.image = between, image
        self.first = nn.Conv2d(5, 12, 1) if image else nn.Linear(5, 12)
        self.second = nn.Conv2d(12, 10, 1) if image else nn.Linear(12, 10)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.between(self, self.first(x).relu())).relu()
        return self.head(x.mean((2, 3)) if self.image else x.mean(1))


PLACES = torch.tensor([6, 0, 3, 3])


def fold(m: Any, x: Tensor) -> Tensor:
    return F.fold(F.unfold(x, 3, padding=1) * 0.5, (8, 8), 3, padding=1)


def windows(m: Any, x: Tensor) -> Tensor:
    return x.unfold(2, 4, 4).unfold(3, 4, 4).mean((-2, -1))


def overwritten(m: Any, x: Tensor) -> Tensor:
    x = x.clone()
    x[:, PLACES[:3]] = x[:, :3] * 2
    return x


TOKENWISE: dict[str, Written] = {
    "mixed by frequency": lambda m, x: torch.fft.fft(x, dim=1).real,
    "filtered": lambda m, x: torch.fft.irfft(torch.fft.rfft(x, dim=1)[:, :3], n=8, dim=1),
    "rotated in pairs": lambda m, x: torch.view_as_real(
        torch.view_as_complex(x.unflatten(-1, (6, 2))) * torch.polar(torch.ones(8, 6), torch.ones(8, 6))
    ).flatten(-2),
    "pooled over tokens": lambda m, x: F.avg_pool2d(x.unsqueeze(1), (2, 1)).squeeze(1),
    "pooled to its own width": lambda m, x: F.adaptive_avg_pool2d(x.unsqueeze(1), (4, 12)).squeeze(1),
    "added by index": lambda m, x: torch.zeros_like(x).index_add(1, PLACES, x[:, :4]),
    "overwritten by index": overwritten,
    "added by place": lambda m, x: torch.zeros_like(x).scatter_add(
        1, PLACES[None, :, None].expand_as(x[:, :4]), x[:, :4]
    ),
    "a mask of tokens": lambda m, x: x[:, torch.arange(8) % 3 > 0],
}
PIXELWISE: dict[str, Written] = {"folded": fold, "in windows": windows}


@pytest.mark.parametrize("name", TOKENWISE)
def test_channels_of_tokens_pass(name: str) -> None:
    width = 6 if name == "rotated in pairs" else 12
    assert sorted(sizes(shrunk(Between(TOKENWISE[name], False), TOKENS)).values()) == sorted((width, 10))


@pytest.mark.parametrize("name", PIXELWISE)
def test_channels_of_pixels_pass(name: str) -> None:
    assert sizes(shrunk(Between(PIXELWISE[name], True), IMAGE))["first.weight:0"] == 12


def test_a_transform_over_channels_pins_them() -> None:
    result = shrunk(Between(lambda m, x: torch.fft.fft2(x).real, False), TOKENS)
    assert pins(result, "first.weight", 0) == {"a Fourier transform mixes this dimension"}


def test_channels_of_regions_pass() -> None:
    torchvision_ops.ensure()
    from torchvision.ops import roi_align

    boxes = torch.tensor([[0.0, 1, 1, 6, 5], [0, 0, 2, 4, 7], [0, 3, 3, 7, 7]])
    result = shrunk(Between(lambda m, x: roi_align(x, boxes, (2, 2)), True), IMAGE)
    assert sizes(result)["first.weight:0"] == 12


class Experts(nn.Module):
    """Tokens sorted by expert, a product for each run of them, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.embed, self.head = nn.Linear(5, 3), nn.Linear(5, 12), nn.Linear(12, 4)
        self.up = nn.Parameter(torch.randn(3, 12, 20))
        self.down = nn.Parameter(torch.randn(3, 20, 12))

    def forward(self, x: Tensor) -> Tensor:
        import transformers.integrations.moe  # noqa: F401  (registers its operator)

        product = torch.ops.transformers.grouped_mm_fallback
        x = x.flatten(0, 1)
        chosen = self.router(x).argmax(-1)
        order = chosen.argsort()
        ends = torch.nn.functional.one_hot(chosen, 3).sum(0).cumsum(0)
        hidden = self.embed(x)[order]
        hidden = product(product(hidden, self.up, ends).relu(), self.down, ends)
        return self.head(hidden[order.argsort()])


def test_experts_of_one_grouped_product() -> None:
    result = shrunk(Experts(), TOKENS)
    found = sizes(result)
    assert (found["embed.weight:0"], found["up:2"]) == (12, 20)
    assert "which rows belong to which matrix is data" in pins(result, "up", 0)

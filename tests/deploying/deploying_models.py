"""Small models as files, with what makes conversions hard: clipped channels, a mask, numbers beyond half precision."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune import exporting
from graphprune.deploying import Examples
from graphprune.deploying.shaping import opened, write_file


class Clipped(nn.Module):
    """The quantiser drops ReLU6 and gives its name to what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.two, self.three = nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = nn.functional.relu6(3 * self.norm(self.one(image)))
        x = x + self.three(nn.functional.relu6(self.two(x)))
        return self.head(x.mean((2, 3)))


class Masked(nn.Module):
    """Attention with the smallest number of float32 in its mask."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        scores = q @ k.transpose(1, 2) / 32**0.5
        return self.out(scores.masked_fill(~keep[:, None], torch.finfo(x.dtype).min).softmax(-1) @ v)


class Large(nn.Module):
    """Numbers around 10^6 between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.two((1e6 * self.one(x)).relu() * 1e-6)


class Tiny(Large):
    """Numbers around 10^-8 between two layers."""

    def forward(self, x: Tensor) -> Tensor:
        return self.two((1e-8 * self.one(x)).relu() * 1e8)


def inputs_of(model: nn.Module, count: int = 2, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    if isinstance(model, Clipped):
        return (torch.randn(count, 3, 12, 12, generator=generator),)
    if isinstance(model, Masked):
        keep = torch.ones(count, 6, dtype=torch.bool)
        keep[:, 4:] = False
        return torch.randn(count, 6, 32, generator=generator), keep
    return (torch.randn(count, 8, generator=generator),)


def filed(kind: type[nn.Module], folder: Path) -> tuple[Path, Examples]:
    """A model's file with names for all nodes, and examples."""
    torch.manual_seed(0)
    model = kind().eval()
    path = folder / "float.onnx"
    exporting.export_onnx(gp.trace(model, inputs_of(model)).program, path)
    write_file(opened(path), path, {}, external=False)
    session = exporting.session(path)
    feeds = [exporting.make_feed(session, inputs_of(model, 8, seed), {}) for seed in range(4)]
    return path, Examples.of(feeds, "noise")

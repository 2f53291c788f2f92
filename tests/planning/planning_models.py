"""A mid-sized convolutional network and a transformer, to plan for."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp

__all__ = ["network", "transformer"]


torch.set_num_threads(1)  # tiny tensors gain nothing from a second one


class _Block(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv2d(width, hidden, 3, padding=1, bias=False), nn.BatchNorm2d(hidden)
        self.two = nn.Conv2d(hidden, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.two(F.relu(self.norm(self.one(x)))))


class _Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.early = nn.Sequential(_Block(32, 48), _Block(32, 40))
        self.down = nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.late = nn.Sequential(_Block(64, 96), _Block(64, 80))
        self.side = nn.Conv2d(64, 24, 1)
        self.hidden, self.head = nn.Linear(88, 56), nn.Linear(56, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.late(self.down(self.early(self.stem(x))))
        x = torch.cat([x, self.side(x)], 1).mean((2, 3))
        return self.head(F.relu(self.hidden(x)))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _Transformer(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Linear(6, width)
        self.attention, self.first = _Attention(width, 4), nn.LayerNorm(width)
        self.up, self.down, self.second = nn.Linear(width, 64), nn.Linear(64, width), nn.LayerNorm(width)
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.attention(self.first(x))
        return self.head(x + self.down(F.gelu(self.up(self.second(x)))))


@lru_cache(None)
def network() -> gp.DependencyGraph:
    torch.manual_seed(0)
    return gp.trace(_Network(), torch.zeros(2, 3, 16, 16))


@lru_cache(None)
def transformer() -> gp.DependencyGraph:
    torch.manual_seed(0)
    return gp.trace(_Transformer(), torch.zeros(2, 7, 6))

"""Small models, each with one way in which layers are coupled."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MODELS"]

torch.set_num_threads(1)  # tiny tensors gain nothing from a second one

image = torch.zeros(2, 3, 8, 8)
tokens = torch.zeros(2, 6, 8)
ids = torch.zeros(2, 6, dtype=torch.long)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4)
        self.expand, self.reduce = nn.Conv2d(8, 12, 1), nn.Conv2d(12, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.reduce(F.relu(self.norm(self.expand(x))))
        return self.head(x.mean((2, 3)))


class Branches(nn.Module):
    """Concatenated, convolved, and cut where no branch ends."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 8, 1)
        self.mix = nn.Conv2d(12, 10, 1)
        self.first, self.second = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 1)
        self.last = nn.Conv2d(10, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.left(x), self.right(x)], 1)
        one, two = x.chunk(2, 1)
        return self.last(self.mix(x)) + self.first(one) * self.second(two)


class FusedAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, 2, 4).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.out(x.transpose(1, 2).reshape(batch, length, 8))


class PerHeadNorm(FusedAttention):
    """The norm's weights are shared by all heads, and so must the choice be."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, 2, 4).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(self.norm(q), self.norm(k), v)
        return self.out(x.transpose(1, 2).reshape(batch, length, 8))


class Rotary(nn.Module):
    """The tables of sines and cosines have a width but no heads; halves of the width are swapped."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8, bias=False) for _ in range(4))
        angles = torch.arange(6)[:, None] * torch.tensor([1.0, 0.1])
        self.register_buffer("cos", angles.repeat(1, 2).cos())
        self.register_buffer("sin", angles.repeat(1, 2).sin())

    def rotated(self, x: Tensor) -> Tensor:
        one, two = x.chunk(2, -1)
        return x * self.cos + torch.cat([-two, one], -1) * self.sin

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = (layer(x).view(batch, length, 2, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
        x = F.scaled_dot_product_attention(self.rotated(q), self.rotated(k), v)
        return self.out(x.transpose(1, 2).flatten(2))


class GroupedQueries(nn.Module):
    """Four heads of queries share two heads of keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(8, 12), nn.Linear(8, 6), nn.Linear(8, 6)
        self.out = nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (-1, 3)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        x = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return self.out(x.transpose(1, 2).flatten(2))


class GroupedConvs(nn.Module):
    """Grouped, shuffled, depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 1)
        self.grouped = nn.Conv2d(12, 18, 3, padding=1, groups=3)
        self.depthwise = nn.Conv2d(18, 18, 3, padding=1, groups=18)
        self.last = nn.Conv2d(18, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.depthwise(self.grouped(self.stem(x))))


class Shuffle(nn.Module):
    """ShuffleNet's unit: channels (g k) become (k g) between two grouped convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 12, 1)
        self.two, self.three = nn.Conv2d(12, 12, 1, groups=3), nn.Conv2d(12, 12, 1, groups=2)
        self.last = nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.one(x))
        batch, channels, height, width = x.shape
        x = x.view(batch, 3, 4, height, width).transpose(1, 2).reshape(batch, channels, height, width)
        return self.last(self.three(x))


class WindowAttention(nn.Module):
    """Windows of four out of sixteen positions, with a table of biases for relative positions."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.table = nn.Parameter(torch.zeros(7, 2))
        places = torch.arange(4)
        self.register_buffer("places", places[:, None] - places + 3)

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        x = x.view(batch * 4, 4, 8)
        q, k, v = self.qkv(x).reshape(-1, 4, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.table[self.places.view(-1)].view(4, 4, 2).permute(2, 0, 1)
        x = ((q @ k.transpose(-2, -1)) * 0.5 + bias).softmax(-1) @ v
        return self.out(x.transpose(1, 2).reshape(-1, 4, 8)).view(batch, 16, 8)


class GroupNormed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm, self.two = nn.Conv2d(3, 12, 3), nn.GroupNorm(3, 12), nn.Conv2d(12, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(F.silu(self.norm(self.one(x))))


class Flattened(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.hidden, self.head = nn.Conv2d(3, 6, 3), nn.Linear(54, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.hidden(F.max_pool2d(self.conv(x), 2).flatten(1))))


class TiedLanguageModel(nn.Module):
    """One parameter embeds the words and scores them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(20, 8), nn.Parameter(torch.zeros(6, 8))
        self.up, self.down, self.norm = nn.Linear(8, 16), nn.Linear(16, 8), nn.LayerNorm(8)
        self.score = nn.Linear(8, 20, bias=False)
        self.score.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.position
        return self.score(self.norm(x + self.down(F.gelu(self.up(x)))))


MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "residual": (Residual, image),
    "branches": (Branches, image),
    "fused attention": (FusedAttention, tokens),
    "per-head norm": (PerHeadNorm, tokens),
    "rotary": (Rotary, tokens),
    "grouped queries": (GroupedQueries, tokens),
    "grouped convolutions": (GroupedConvs, image),
    "channel shuffle": (Shuffle, image),
    "window attention": (WindowAttention, torch.zeros(2, 16, 8)),
    "group norm": (GroupNormed, image),
    "flatten": (Flattened, image),
    "tied embedding": (TiedLanguageModel, ids),
}

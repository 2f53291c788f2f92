"""What Torch-Pruning 1.6.1 gets wrong without a word: every one of them exact here."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from black_box import assert_exact, parameters, pins, randomise, shrunk, sizes
from torch import Tensor, nn

import graphprune as gp
from graphprune.planning import make_plan

IMAGE = torch.zeros(2, 3, 6, 6)


class ChunkThenSubtract(nn.Module):
    """``f(a) - g(b)`` after a chunk."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.f, self.g = nn.Conv2d(8, 12, 1), nn.Conv2d(8, 12, 1)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.stem(x).relu().chunk(2, 1)
        return self.head((self.f(a) - self.g(b)).relu().mean((2, 3)))


def test_chunk_then_two_layers_then_subtract() -> None:
    result = shrunk(ChunkThenSubtract(), IMAGE)
    assert sizes(result) == {"stem.weight:0/0": 8, "stem.weight:0/1": 8, "f.weight:0": 12}
    kept = result.plan.kept
    assert torch.equal(kept["f.weight"][0], kept["g.weight"][0])
    assert not torch.equal(kept["f.weight"][1], kept["g.weight"][1])  # the halves are free of each other


class GatedLinear(nn.Module):
    """A chunk along the last of three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(10, 24)
        self.down = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.up(x).chunk(2, -1)
        return x + self.down(value * F.silu(gate))


def test_chunk_along_the_last_of_three_dimensions() -> None:
    result = shrunk(GatedLinear(), torch.zeros(2, 5, 10))
    assert sizes(result) == {"up.weight:0": 12}
    kept = result.plan.kept["up.weight"][0]
    assert torch.equal(kept[:6] + 12, kept[6:])  # a value goes with its gate


class ConcatenatedInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.merge = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(11, 10, 3)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, self.conv(x).relu()], 1)
        return self.head(self.merge(x).relu().mean((2, 3)))


def test_concatenation_with_the_input() -> None:
    result = shrunk(ConcatenatedInput(), IMAGE)
    assert sizes(result) == {"conv.weight:0": 8, "merge.weight:0": 10}
    kept = result.plan.kept["merge.weight"][1]
    assert kept[:3].tolist() == [0, 1, 2]  # the input's channels stay
    assert torch.equal(kept[3:] - 3, result.plan.kept["conv.weight"][0])


class ChannelsLast(nn.Module):
    """NHWC: permute, flatten, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.hidden, self.head = nn.Linear(4 * 4 * 8, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu().permute(0, 2, 3, 1).flatten(1)
        return self.head(self.hidden(x).relu())


def test_permute_flatten_linear() -> None:
    result = shrunk(ChannelsLast(), IMAGE)
    assert sizes(result) == {"conv.weight:0": 8, "hidden.weight:0": 10}
    kept = result.plan.kept["conv.weight"][0]
    positions = (torch.arange(16)[:, None] * 8 + kept).flatten()
    assert torch.equal(result.plan.kept["hidden.weight"][1], positions)


class Shuffled(nn.Module):
    def __init__(self, layer: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 1)
        self.grouped = nn.Conv2d(12, 12, 3, padding=1, groups=3)
        self.norm = nn.BatchNorm2d(12)
        self.second = nn.Conv2d(12, 12, 1, groups=2)
        self.head = nn.Linear(12, 4)
        self.shuffle = nn.ChannelShuffle(3) if layer else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.grouped(self.first(x).relu()))
        if self.shuffle is not None:
            x = self.shuffle(x)
        else:
            b, c, h, w = x.shape
            x = x.view(b, 3, c // 3, h, w).transpose(1, 2).reshape(b, c, h, w)
        return self.head(self.second(x.relu()).relu().mean((2, 3)))


@pytest.mark.parametrize("layer", [False, True], ids=["view-transpose", "nn.ChannelShuffle"])
def test_channel_shuffle(layer: bool) -> None:
    result = shrunk(Shuffled(layer), IMAGE)
    print(sizes(result))


class Flipped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 10, 3)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu().flip(1)
        return self.head(self.second(x).relu().mean((2, 3)))


def test_flip_over_channels() -> None:
    result = shrunk(Flipped(), IMAGE)
    assert sizes(result) == {"second.weight:0": 10}
    assert pins(result, "first.weight", 0) == {"flip orders this dimension"}


class SelfAttention(nn.Module):
    """`nn.MultiheadAttention` in a residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(24, 4, batch_first=True)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.attention(x, x, x, need_weights=False)[0])


def test_multihead_attention_removes_whole_heads() -> None:
    result = shrunk(SelfAttention(), torch.zeros(2, 7, 24))
    print(sizes(result))


def test_multihead_attention_keeps_its_scale_when_heads_get_thinner() -> None:
    model = randomise(SelfAttention())
    inputs = torch.zeros(2, 7, 24)
    graph = gp.trace(model, inputs)
    print({g.name: (g.size, g.fibre and g.fibre.size) for g in graph.groups})

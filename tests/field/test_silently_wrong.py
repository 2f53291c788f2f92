"""What Torch-Pruning 1.6.1 gets wrong without a word: every one of them exact here."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from black_box import (
    assert_exact,
    parameters,
    pins,
    randomise,
    reproducible,  # noqa: F401  (a fixture)
    shrunk,
    sizes,
)
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
    # g groups of i inputs; g times (2 o) outputs, which the second grouping reads as 2 times (o g)
    assert sorted(sizes(result).values()) == [2, 2, 3, 4, 6]
    kept = result.plan.kept
    assert torch.equal(kept["grouped.weight"][0], kept["norm.running_var"][0])
    assert result.model.grouped.groups == 2
    assert result.model.second.groups == 1


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
    assert sizes(result) == {"first.weight:0": 8, "second.weight:0": 10}
    kept = result.plan.kept
    assert torch.equal(kept["first.weight"][0], (7 - kept["second.weight"][1]).flip(0))


class SelfAttention(nn.Module):
    """`nn.MultiheadAttention` in a residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(24, 4, batch_first=True)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.attention(x, x, x, need_weights=False)[0])


TOKENS = torch.zeros(2, 7, 24)


def _group(graph: gp.DependencyGraph, size: int) -> str:
    (name,) = [group.name for group in graph.groups if group.size == size]
    return name


def test_multihead_attention_keeps_heads_aligned() -> None:
    result = shrunk(SelfAttention(), TOKENS)
    assert sorted(sizes(result).values()) == [4, 6]  # heads, and the width of each; the 24 are the input's
    kept = result.plan.kept["attention.in_proj_weight"][0]
    q, k, v = (kept[kept // 24 == part] % 24 for part in range(3))
    assert torch.equal(q, k)
    assert torch.equal(q, v)
    assert torch.equal(q, result.plan.kept["attention.out_proj.weight"][1])
    assert len(torch.unique(q // 6)) == 2


def test_multihead_attention_loses_whole_heads() -> None:
    model = randomise(SelfAttention())
    graph = gp.trace(model, TOKENS)
    plan = make_plan(graph, {_group(graph, 4): torch.tensor([0, 3])})
    result = gp.shrink(graph, plan=plan)
    assert_exact(model, result, TOKENS)
    assert result.plan.kept["attention.out_proj.weight"][1].tolist() == [*range(6), *range(18, 24)]


@pytest.mark.parametrize("rows", [[[0, 2]] * 4, [[0, 2], [1, 5], [3, 4], [0, 1]]], ids=["alike", "per head"])
def test_multihead_attention_keeps_its_scale_when_heads_get_thinner(rows: list[list[int]]) -> None:
    model = randomise(SelfAttention())
    graph = gp.trace(model, TOKENS)
    result = gp.shrink(graph, plan=make_plan(graph, {_group(graph, 6): torch.tensor(rows)}))
    assert_exact(model, result, TOKENS)
    (call,) = [n for n in result.model.graph.nodes if n.target is F.scaled_dot_product_attention]
    assert call.kwargs["scale"] == pytest.approx(6**-0.5)


def test_a_wrong_scale_would_have_been_seen() -> None:
    """The oracle is not blind to the scale: with the one that thinner heads derive, it fails."""
    model = randomise(SelfAttention())
    graph = gp.trace(model, TOKENS)
    result = gp.shrink(graph, plan=make_plan(graph, {_group(graph, 6): torch.tensor([[0, 2]] * 4)}))
    (call,) = [n for n in result.model.graph.nodes if n.target is F.scaled_dot_product_attention]
    call.kwargs = {**call.kwargs, "scale": 2**-0.5}
    result.model.recompile()
    with pytest.raises(AssertionError):
        assert_exact(model, result, TOKENS)


class LanguageModel(nn.Module):
    """An embedding tied to the output layer, with a norm and a feed-forward block between."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(17, 12)
        self.norm = nn.LayerNorm(12)
        self.up, self.down = nn.Linear(12, 20), nn.Linear(20, 12)
        self.output = nn.Linear(12, 17, bias=False)
        self.output.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        return self.output(x + self.down(F.gelu(self.up(self.norm(x)))))


def test_tied_embedding_and_output_stay_tied() -> None:
    model = LanguageModel()
    result = shrunk(model, torch.arange(10).reshape(2, 5))
    assert sizes(result) == {"embed.weight:1": 12, "up.weight:0": 20}
    slim = result.model
    assert slim.output.weight is slim.embed.weight
    assert slim.embed.weight.shape == (17, 6)
    assert result.after.params == parameters(slim)
    slim.train()
    loss = slim(torch.arange(10).reshape(2, 5)).square().sum()
    loss.backward()
    torch.optim.SGD(slim.parameters(), 0.1).step()
    assert slim.output.weight is slim.embed.weight


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 4)
        self.stem.requires_grad_(False)
        self.norm.bias.requires_grad_(False)
        self.head.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(self.norm(self.stem(x)).relu()).relu().mean((2, 3)))


def test_frozen_parameters_stay_frozen() -> None:
    model = Frozen()
    result = shrunk(model, IMAGE)
    assert sizes(result) == {"stem.weight:0": 8, "conv.weight:0": 8}
    wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    given = {name: parameter.requires_grad for name, parameter in result.model.named_parameters()}
    assert given == wanted
    assert set(given.values()) == {True, False}


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.classes, self.boxes = nn.Linear(8, 5), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv(x).relu()
        return self.classes(x.mean((2, 3))).softmax(-1), self.boxes(x)


def test_output_layers_are_never_pruned() -> None:
    result = shrunk(TwoHeads(), IMAGE, ratio=0.9)
    assert sizes(result) == {"conv.weight:0": 8}
    assert pins(result, "boxes.weight", 0) == {"an output of the model"}
    assert "an output of the model" in pins(result, "classes.weight", 0)
    classes, boxes = result.model(IMAGE)
    assert classes.shape[1] == 5
    assert boxes.shape[1] == 4


class GroupedQuery(nn.Module):
    """Grouped-query attention with norms over each head's queries and keys, and rotary positions."""

    def __init__(self, repeat: str) -> None:
        super().__init__()
        self.repeat = repeat
        self.q, self.k, self.v = nn.Linear(24, 48), nn.Linear(24, 16), nn.Linear(24, 16)
        self.q_norm, self.k_norm = nn.RMSNorm(8), nn.RMSNorm(8)
        self.o = nn.Linear(48, 24)
        angles = torch.outer(torch.arange(7.0), 0.5 ** torch.arange(4.0))
        self.register_buffer("cos", angles.cos().repeat(1, 2), persistent=False)
        self.register_buffer("sin", angles.sin().repeat(1, 2), persistent=False)

    def rotate(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return x * self.cos + torch.cat([-second, first], -1) * self.sin

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q = self.rotate(self.q_norm(self.q(x).view(b, t, 6, 8)).transpose(1, 2))
        k = self.rotate(self.k_norm(self.k(x).view(b, t, 2, 8)).transpose(1, 2))
        v = self.v(x).view(b, t, 2, 8).transpose(1, 2)
        if self.repeat == "expand":
            k, v = (a[:, :, None].expand(b, 2, 3, t, 8).reshape(b, 6, t, 8) for a in (k, v))
        elif self.repeat == "interleave":
            k, v = (a.repeat_interleave(3, 1) for a in (k, v))
        grouped = self.repeat == "enable_gqa"
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        return x + self.o(y.transpose(1, 2).reshape(b, t, 48))


@pytest.mark.parametrize("repeat", ["expand", "interleave", "enable_gqa"])
def test_grouped_query_attention_with_norms(repeat: str) -> None:
    result = shrunk(GroupedQuery(repeat), TOKENS)
    # groups of 3 query heads with their key head; 4 pairs of rotated positions; the values' own width
    assert sorted(sizes(result).values()) == [2, 3, 4, 8]
    kept = result.plan.kept
    q, k, v, o = (kept[f"{name}.weight"][name == "o"] for name in "qkvo")
    assert set((q // 24).tolist()) == set((k // 8).tolist()) == set((v // 8).tolist())
    assert set((q % 8).tolist()) == set((k % 8).tolist()) == set(kept["q_norm.weight"][0].tolist())
    assert torch.equal(torch.unique(q // 8), torch.unique(o // 8))

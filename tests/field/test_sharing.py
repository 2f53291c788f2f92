"""Modules and tensors used more than once, in place, through views, or not at all."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from black_box import (
    parameters,
    reproducible,  # noqa: F401  (a fixture)
    shrunk,
    sizes,
)
from torch import Tensor, nn

IMAGE = torch.zeros(2, 3, 8, 8)
TOKENS = torch.zeros(2, 5, 12)


class SharedBlock(nn.Module):
    """One block applied three times, as in ALBERT, between layers of its own width."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.head = nn.Linear(12, 10), nn.Sequential(), nn.Linear(10, 4)
        self.block = nn.Sequential(nn.Linear(10, 14), nn.GELU(), nn.Linear(14, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(3):
            x = x + self.block(x)
        return self.head(x)


def test_one_block_called_three_times() -> None:
    result = shrunk(SharedBlock(), TOKENS)
    assert sizes(result) == {"stem.weight:0": 10, "block.0.weight:0": 14}
    called = [node.target for node in result.model.graph.nodes if node.op == "call_module"]
    assert called.count("block.0") == 3
    assert called.count("block.1") == 3
    assert result.model.get_submodule("block.0").out_features == 7


class SharedHead(nn.Module):
    """A detection head's convolution on two feature maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.tower, self.norm, self.boxes = (
            nn.Conv2d(8, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.Conv2d(12, 4, 1),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        fine = self.stem(x).relu()
        coarse = self.down(fine).relu()
        return [self.boxes(self.norm(self.tower(level)).relu()) for level in (fine, coarse)]


def test_one_convolution_on_two_feature_maps() -> None:
    result = shrunk(SharedHead(), IMAGE)
    # the shared convolution makes both maps' channels one group
    assert sizes(result) == {"stem.weight:0": 8, "tower.weight:0": 12}
    kept = result.plan.kept
    assert torch.equal(kept["stem.weight"][0], kept["down.weight"][0])


class SharedOnDifferentParts(nn.Module):
    """The same convolution on the two halves of another's channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.head = nn.Conv2d(3, 12, 1), nn.Conv2d(6, 8, 3), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.stem(x).relu().chunk(2, 1)
        x = torch.cat([self.conv(a), self.conv(b).tanh()], 1)
        return self.head(x.mean((2, 3)))


def test_one_convolution_on_two_halves() -> None:
    result = shrunk(SharedOnDifferentParts(), IMAGE)
    assert sizes(result) == {"stem.weight:0": 6, "conv.weight:0": 8}
    kept = result.plan.kept["stem.weight"][0]
    assert torch.equal(kept[:3] + 6, kept[3:])


class SharedNorm(nn.Module):
    """A norm and an activation registered under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(12, 10), nn.Linear(12, 10), nn.Linear(10, 3)
        self.norm = nn.LayerNorm(10)
        self.again, self.act = self.norm, nn.PReLU(10)
        self.tied = nn.Linear(12, 10)
        self.tied.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.a(x)) + self.again(self.b(x))
        y = y + self.tied(x)
        return self.head(self.act(y.transpose(1, 2)).transpose(1, 2))


def test_layers_under_two_names() -> None:
    model = SharedNorm()
    result = shrunk(model, TOKENS)
    assert sizes(result) == {"a.weight:0": 10}
    slim = result.model
    assert slim.tied.weight is slim.a.weight
    assert set(slim.state_dict()) <= set(model.state_dict())
    assert result.after.params == parameters(slim)


class TiedBackwards(nn.Module):
    """The tie's second name is used first."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.b.weight = self.a.weight
        self.stem = nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.a(self.b(self.stem(x)).relu()))


def test_a_tied_weight_that_is_used_under_its_second_name_first() -> None:
    model = TiedBackwards()
    result = shrunk(model, TOKENS)
    assert sizes(result) == {"stem.weight:0": 8}  # the tie makes inputs and outputs one
    assert result.model.a.weight is result.model.b.weight
    assert set(result.model.state_dict()) == set(model.state_dict())


class ScaledEmbedding(nn.Embedding):
    """Gemma's: a layer with a buffer, a parameter and a layer of its own beside the standard ones."""

    def __init__(self) -> None:
        super().__init__(9, 12)
        self.register_buffer("embed_scale", torch.tensor(3.0), persistent=False)
        self.register_buffer("offset", torch.rand(12))
        self.gain = nn.Parameter(torch.rand(12))
        self.norm = nn.LayerNorm(12)

    def forward(self, ids: Tensor) -> Tensor:
        return self.norm(self.gain * self.embed_scale * super().forward(ids) + self.offset)


def test_a_layer_with_more_tensors_than_its_kind() -> None:
    model = nn.Sequential(ScaledEmbedding(), nn.Linear(12, 5))
    result = shrunk(model, torch.arange(8).reshape(2, 4))
    assert sizes(result) == {"0.weight:1": 12}
    slim = result.model
    assert type(slim.get_submodule("0")) is nn.Embedding
    assert set(slim.state_dict()) == set(model.state_dict())
    assert "0.embed_scale" in dict(slim.named_buffers())


class RelativeTable(nn.Module):
    """DeBERTa: a layer applied to a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(5, 10), nn.LayerNorm(10)
        self.up, self.head = nn.Linear(12, 10), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.up(x) @ self.norm(self.table.weight).t())


def test_a_layer_applied_to_a_parameter() -> None:
    result = shrunk(RelativeTable(), TOKENS)
    assert sizes(result)["table.weight:1"] == 10


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(12, 10), nn.Linear(10, 4)
        self.forgotten = nn.Linear(12, 99)
        self.token = nn.Parameter(torch.zeros(1, 1, 7))
        self.register_buffer("unread", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(x).relu())


def test_unused_parameters_do_no_harm() -> None:
    model = Unused()
    result = shrunk(model, TOKENS)
    assert sizes(result) == {"up.weight:0": 10}
    assert result.before.params == 12 * 10 + 10 + 10 * 4 + 4  # of what the graph reads
    assert set(result.model.state_dict()) <= set(model.state_dict())


class BufferArithmetic(nn.Module):
    """Buffers registered and plain, added, multiplied, concatenated, indexed and computed upon."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(12, 10), nn.Linear(14, 4)
        self.register_buffer("mean", torch.rand(10))
        self.register_buffer("std", torch.rand(1, 10) + 0.5, persistent=False)
        self.register_buffer("extra", torch.rand(1, 1, 4))
        self.plain = torch.rand(10) + 0.5

    def forward(self, x: Tensor) -> Tensor:
        x = (self.up(x) - self.mean) / self.std.sqrt() * (2 * self.plain + torch.ones(10))
        return self.down(torch.cat([x, self.extra.expand(*x.shape[:2], 4)], -1))


def test_buffers_in_arithmetic() -> None:
    model = BufferArithmetic()
    result = shrunk(model, TOKENS)
    assert sizes(result) == {"up.weight:0": 10, "extra:2": 4}
    slim = result.model
    assert slim.mean.shape == (5,)
    assert slim.std.shape == (1, 5)
    assert set(slim.state_dict()) == set(model.state_dict())
    assert "std" in dict(slim.named_buffers())


# -- writing in place -------------------------------------------------------------------------------------


class InPlace(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.a, self.b, self.head = nn.Linear(12, 10), nn.Linear(12, 6), nn.Linear(10, 4)
        self.other = nn.Linear(10, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        if self.kind == "whole":
            y.mul_(2).add_(1).relu_()
        elif self.kind == "slice":
            y[..., :6] += self.b(x)
        elif self.kind == "setitem":
            y[..., 2:5] = 0.5
        elif self.kind == "row":
            y[:, 0] = self.other(x[:, 1] @ self.a.weight.t())
        elif self.kind == "zeroed bias":
            bias = torch.cat([self.a.bias, self.b.bias])
            bias[2:5].zero_()
            y = y + bias[:10]
        elif self.kind == "into zeros":
            z = torch.zeros_like(y)
            z[..., :6] = self.b(x)
            z[..., 6:] = y[..., 6:].tanh()
            y = z
        elif self.kind == "new_zeros":
            z = y.new_zeros(y.shape)
            z.copy_(y)
            y = z + y
        elif self.kind == "alias read later":
            view = y[:, 1:]
            y.mul_(3)
            y = y + view.sum(1, keepdim=True)
        return self.head(y.relu())


@pytest.mark.parametrize(
    "kind",
    ["whole", "slice", "setitem", "row", "zeroed bias", "into zeros", "new_zeros", "alias read later"],
)
def test_operators_that_write_in_place(kind: str) -> None:
    """Exact in any case; what cannot be made functional is pinned and says so."""
    result = shrunk(InPlace(kind), TOKENS)
    free = {name: size for name, size in sizes(result).items() if name.startswith("a.weight:0")}
    assert sum(free.values()) == 10
    given = torch.randn(2, 5, 12)
    before = given.clone()
    result.model(given)
    assert torch.equal(given, before)


class WritesItsInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(12, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x.mul_(2).add_(1)).relu())


def test_a_model_that_writes_into_its_input() -> None:
    """The slim model writes into it too, once."""
    result = shrunk(WritesItsInput(), TOKENS)
    assert sizes(result) == {"a.weight:0": 10}
    given = torch.ones(2, 5, 12)
    result.model(given)
    assert torch.equal(given, torch.full((2, 5, 12), 3.0))


class Counter(nn.Module):
    """Counts its calls and keeps a running mean, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(12, 10), nn.Linear(10, 4)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("running", torch.zeros(10))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        y = self.a(x)
        self.running.mul_(0.9).add_(y.mean((0, 1)) * 0.1)
        return self.b((y - self.running).relu()) / self.calls


def test_a_model_that_writes_into_its_buffers() -> None:
    model = Counter()
    result = shrunk(model, TOKENS, seeds=(0,))
    assert model.calls == 0
    assert not model.running.any()
    calls = int(result.model.calls)
    running, x = result.model.running.clone(), torch.randn(2, 5, 12)
    result.model(x)
    assert result.model.calls == calls + 1
    assert torch.allclose(result.model.running, 0.9 * running + 0.1 * result.model.a(x).mean((0, 1)))
    assert sizes(result) == {"a.weight:0": 10}


class QkvBias(nn.Module):
    """BEiT: a bias whose middle third is zero, written through a view."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(12, 36), nn.Linear(12, 12)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        bias = self.qkv.bias * 1.0
        bias[12:24].zero_()
        b, t, c = x.shape
        q, k, v = F.linear(x, self.qkv.weight, bias).view(b, t, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.head(self.proj(y.transpose(1, 2).reshape(b, t, c)))


def test_a_bias_zeroed_through_a_view() -> None:
    result = shrunk(QkvBias(), TOKENS)
    assert sorted(sizes(result).values()) == [3, 4, 12]

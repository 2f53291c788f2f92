"""Two ways to write the same model give the same groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp

Run = Callable[[Any, Tensor], Tensor]


class Written(nn.Module):
    """Layers, and one way to write what they do."""

    def __init__(self, layers: dict[str, nn.Module], run: Run) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def groups(layers: dict[str, nn.Module], run: Run, inputs: Tensor) -> set[tuple[int, int, frozenset[Any]]]:
    """Size, size of the fibre (0 if none) and members of every group."""
    torch.manual_seed(0)
    graph = gp.trace(Written(layers, run), inputs, strict=True)
    assert gp.shrink(graph, ratio=0.5).verdict.passed
    return {
        (
            group.size,
            group.fibre.size if group.fibre else 0,
            frozenset((member.tensor, member.dim) for member in group.members),
        )
        for group in graph.groups
    }


# -- perceptron ---------------------------------------------------------------------------------------------
def _mlp() -> dict[str, nn.Module]:
    return {"up": nn.Linear(8, 16), "down": nn.Linear(16, 4)}


MLP: list[Run] = [
    lambda m, x: m.down(m.up(x).relu()),
    lambda m, x: F.linear(F.relu(F.linear(x, m.up.weight, m.up.bias)), m.down.weight, m.down.bias),
    lambda m, x: torch.relu_(x @ m.up.weight.T + m.up.bias) @ m.down.weight.mT + m.down.bias,
    lambda m, x: (
        torch.einsum(
            "bni,oi->bno", F.relu(torch.einsum("...i,oi->...o", x, m.up.weight) + m.up.bias), m.down.weight
        )
        + m.down.bias
    ),
    lambda m, x: torch.matmul(m.up(x).clamp(min=0), m.down.weight.transpose(0, 1)).add_(m.down.bias),
    lambda m, x: torch.addmm(
        m.down.bias, F.relu(torch.addmm(m.up.bias, x.flatten(0, 1), m.up.weight.t())), m.down.weight.t()
    ).view(-1, 5, 4),
    lambda m, x: m.down(torch.where((y := m.up(x)) > 0, y, torch.zeros_like(y))),
    lambda m, x: m.down((y := m.up(x)).masked_fill(y < 0, 0.0)),
    lambda m, x: (
        F.conv1d(
            F.relu(F.conv1d(x.mT, m.up.weight[..., None], m.up.bias)), m.down.weight[:, :, None], m.down.bias
        ).mT
    ),
]


# -- gates: one layer whose result is cut in two ------------------------------------------------------------
def _gate() -> dict[str, nn.Module]:
    return {"both": nn.Linear(8, 12), "down": nn.Linear(6, 4)}


def _cut(cut: Callable[[Tensor], Any]) -> Run:
    def run(m: Any, x: Tensor) -> Tensor:
        value, gate = cut(m.both(x))
        return m.down(value * gate.sigmoid())

    return run


GATE: list[Run] = [
    _cut(lambda x: x.chunk(2, -1)),
    _cut(lambda x: (x[..., :6], x[..., 6:])),
    _cut(lambda x: (x[..., :-6], x[..., -6:])),
    _cut(lambda x: x.split(6, dim=-1)),
    _cut(lambda x: x.split([6, 6], dim=2)),
    _cut(lambda x: x.tensor_split(2, -1)),
    _cut(lambda x: x.tensor_split([6], -1)),
    _cut(lambda x: (x.narrow(-1, 0, 6), x.narrow(2, 6, 6))),
    lambda m, x: m.down(F.glu(m.both(x))),
]

FOLDED_GATE: list[Run] = [  # values and gates are rows of a dimension: which rows, is pinned
    _cut(lambda x: x.unflatten(-1, (2, 6)).unbind(-2)),
    _cut(lambda x: ((y := x.view(-1, 5, 2, 6))[:, :, 0], y[:, :, 1])),
    _cut(lambda x: x.reshape(-1, 5, 2, 6).permute(2, 0, 1, 3)),
    _cut(lambda x: x.reshape(-1, 5, 2, 6).movedim(2, 0).unbind()),
]


# -- attention ----------------------------------------------------------------------------------------------
def _attention() -> dict[str, nn.Module]:
    return {name: nn.Linear(8, 12) for name in "qkv"} | {"out": nn.Linear(12, 8)}


def _by_view(x: Tensor) -> Tensor:
    return x.view(x.shape[0], 5, 3, 4).transpose(1, 2)


def _attend(
    heads: Callable[[Tensor], Tensor], mix: Callable[..., Tensor], join: Callable[[Tensor], Tensor]
) -> Run:
    return lambda m, x: m.out(join(mix(heads(m.q(x)), heads(m.k(x)), heads(m.v(x)))))


def _softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(-2, -1) / 2).softmax(-1) @ v


def _einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = torch.einsum("bhnd,bhmd->bhnm", q, k).mul(0.5).softmax(-1)
    return torch.einsum("bhnm,bhmd->bhnd", weights, v)


def _batched(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.reshape(-1, 5, 4) for x in (q, k, v))
    return torch.bmm(F.softmax(torch.bmm(q, k.transpose(1, 2)) * 0.5, dim=2), v).view(-1, 3, 5, 4)


def _joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


ATTENTION: list[Run] = [
    _attend(_by_view, F.scaled_dot_product_attention, _joined),
    _attend(_by_view, _softmax, _joined),
    _attend(_by_view, _einsum, _joined),
    _attend(_by_view, lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.5), _joined),
    _attend(lambda x: x.unflatten(-1, (3, 4)).permute(0, 2, 1, 3), _softmax, _joined),
    _attend(
        lambda x: x.unflatten(2, (3, -1)).movedim(2, 1),
        _softmax,
        lambda x: x.swapaxes(1, 2).reshape(-1, 5, 12),
    ),
    _attend(
        lambda x: torch.stack([part for part in [x.reshape(-1, 5, 3, 4)]], 0).squeeze(0).transpose(2, 1),
        F.scaled_dot_product_attention,
        lambda x: x.permute(0, 2, 1, 3).reshape(-1, 5, 12),
    ),
    _attend(_by_view, _batched, _joined),
]


# -- grouped queries ----------------------------------------------------------------------------------------
def _grouped() -> dict[str, nn.Module]:
    return {"q": nn.Linear(8, 24), "k": nn.Linear(8, 12), "v": nn.Linear(8, 12), "out": nn.Linear(24, 8)}


def _repeated(repeat: Callable[[Tensor], Tensor]) -> Run:
    def run(m: Any, x: Tensor) -> Tensor:
        q = m.q(x).view(-1, 5, 6, 4).transpose(1, 2)
        k, v = (repeat(layer(x).view(-1, 5, 3, 4).transpose(1, 2)) for layer in (m.k, m.v))
        return m.out(_joined(F.scaled_dot_product_attention(q, k, v)))

    return run


def _native(m: Any, x: Tensor) -> Tensor:
    q, k, v = (layer(x).unflatten(-1, (-1, 4)).transpose(1, 2) for layer in (m.q, m.k, m.v))
    return m.out(_joined(F.scaled_dot_product_attention(q, k, v, enable_gqa=True)))


GROUPED: list[Run] = [
    _native,
    _repeated(lambda x: x.repeat_interleave(2, 1)),
    _repeated(lambda x: x[:, :, None].expand(-1, -1, 2, -1, -1).reshape(-1, 6, 5, 4)),
    _repeated(lambda x: x.unsqueeze(2).repeat(1, 1, 2, 1, 1).flatten(1, 2)),
]


# -- convolutions -------------------------------------------------------------------------------------------
def _convolutions() -> dict[str, nn.Module]:
    return {
        "stem": nn.Conv2d(3, 8, 3, padding=1),
        "norm": nn.BatchNorm2d(8),
        "body": nn.Conv2d(8, 8, 3, padding=1),
        "head": nn.Linear(8, 4),
    }


def _normed(m: Any, x: Tensor) -> Tensor:
    norm = m.norm
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


def _affine(m: Any, x: Tensor) -> Tensor:
    norm = m.norm
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = norm.bias - norm.running_mean * scale
    return x * scale.view(1, -1, 1, 1) + shift[None, :, None, None]


def _padded(m: Any, x: Tensor) -> Tensor:
    return F.conv2d(F.pad(x, (1, 1, 1, 1)), m.body.weight, m.body.bias)


RESIDUAL: list[Run] = [
    lambda m, x: m.head((y := F.relu(m.norm(m.stem(x)))).add(m.body(y)).mean((2, 3))),
    lambda m, x: m.head((m.body(y := m.norm(m.stem(x)).relu_()) + y).mean([-1, -2])),
    lambda m, x: m.head(
        F.adaptive_avg_pool2d(m.body(y := F.relu(_normed(m, m.stem(x)))).add_(y), 1).flatten(1)
    ),
    lambda m, x: m.head((_padded(m, y := F.relu(_affine(m, m.stem(x)))) + y).sum((2, 3)) / 64),
    lambda m, x: m.head(torch.stack([y := F.relu(m.norm(m.stem(x))), m.body(y)]).sum(0).flatten(2).mean(-1)),
    lambda m, x: m.head(
        torch.einsum("bchw->bc", torch.lerp(y := m.norm(m.stem(x)).clamp_min(0), m.body(y), 0.5)) / 64
    ),
]


def _branches() -> dict[str, nn.Module]:
    return {"left": nn.Conv2d(3, 4, 1), "right": nn.Conv2d(3, 6, 1), "last": nn.Conv2d(10, 5, 1)}


def _written_into(m: Any, x: Tensor) -> Tensor:
    left, right = m.left(x), m.right(x)
    both = x.new_zeros(x.shape[0], 10, 8, 8)
    both[:, :4] = left
    both[:, 4:] = right
    return m.last(both)


BRANCHES: list[Run] = [
    lambda m, x: m.last(torch.cat([m.left(x), m.right(x)], 1)),
    lambda m, x: m.last(torch.concat((m.left(x), m.right(x)), dim=-3)),
    lambda m, x: m.last(F.pad(m.left(x), (0, 0, 0, 0, 0, 6)) + F.pad(m.right(x), (0, 0, 0, 0, 4, 0))),
    lambda m, x: (
        F.conv2d(m.left(x), m.last.weight[:, :4], m.last.bias) + F.conv2d(m.right(x), m.last.weight[:, 4:])
    ),
    _written_into,
]


def _shuffles() -> dict[str, nn.Module]:
    return {
        "one": nn.Conv2d(3, 12, 1, groups=3),
        "two": nn.Conv2d(12, 12, 1, groups=4),
        "three": nn.Conv2d(12, 4, 1),
    }


def _shuffled(shuffle: Callable[[Tensor], Tensor]) -> Run:
    return lambda m, x: m.three(m.two(shuffle(m.one(x))))


SHUFFLES: list[Run] = [
    _shuffled(lambda x: x.view(-1, 3, 4, 8, 8).transpose(1, 2).reshape(-1, 12, 8, 8)),
    _shuffled(lambda x: F.channel_shuffle(x, 3)),
    _shuffled(lambda x: x.unflatten(1, (3, 4)).permute(0, 2, 1, 3, 4).flatten(1, 2)),
    _shuffled(lambda x: torch.stack(x.chunk(3, 1), 2).flatten(1, 2)),
]


# -- norms --------------------------------------------------------------------------------------------------
def _normalised() -> dict[str, nn.Module]:
    return {"one": nn.Linear(8, 12), "norm": nn.LayerNorm(12), "two": nn.Linear(12, 4)}


def _by_hand(m: Any, x: Tensor) -> Tensor:
    x = x - x.mean(-1, keepdim=True)
    return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * m.norm.weight + m.norm.bias


def _by_moments(m: Any, x: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, -1, keepdim=True, correction=0)
    return torch.addcmul(m.norm.bias, (x - mean) * torch.rsqrt(variance + 1e-5), m.norm.weight)


def _plain() -> dict[str, nn.Module]:
    return {
        "one": nn.Linear(8, 12),
        "norm": nn.LayerNorm(12, elementwise_affine=False),
        "two": nn.Linear(12, 4),
    }


PLAIN_NORMS: list[Run] = [
    lambda m, x: m.two(m.norm(m.one(x))),
    lambda m, x: m.two(F.layer_norm(m.one(x), (12,))),
    lambda m, x: m.two((y := m.one(x)) - y.mean(-1, keepdim=True)),
]

NORMS: list[Run] = [
    lambda m, x: m.two(m.norm(m.one(x))),
    lambda m, x: m.two(F.layer_norm(m.one(x), (12,), m.norm.weight, m.norm.bias)),
    lambda m, x: m.two(_by_hand(m, m.one(x))),
    lambda m, x: m.two(_by_moments(m, m.one(x))),
]

tokens, image = torch.zeros(2, 5, 8), torch.zeros(2, 3, 8, 8)

FAMILIES: dict[str, tuple[Callable[[], dict[str, nn.Module]], list[Run], Tensor]] = {
    "perceptron": (_mlp, MLP, tokens),
    "gate": (_gate, GATE, tokens),
    "folded gate": (_gate, FOLDED_GATE, tokens),
    "attention": (_attention, ATTENTION, tokens),
    "grouped queries": (_grouped, GROUPED, tokens),
    "residual": (_convolutions, RESIDUAL, image),
    "branches": (_branches, BRANCHES, image),
    "shuffles": (_shuffles, SHUFFLES, image),
    "norms": (_normalised, NORMS, tokens),
    "norms without weights": (_plain, PLAIN_NORMS, tokens),
}


@pytest.mark.parametrize(
    ("family", "way"),
    [(family, way) for family, (_, ways, _) in FAMILIES.items() for way in range(1, len(ways))],
)
def test_another_way_to_write_it_gives_the_same_groups(family: str, way: int) -> None:
    layers, ways, inputs = FAMILIES[family]
    expected = groups(layers(), ways[0], inputs)
    assert expected
    assert groups(layers(), ways[way], inputs) == expected

"""Two ways to write the same model give the same groups, the same plan and the same slim model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from black_box import (
    assert_exact,
    difference,
    randomise,
    reproducible,  # noqa: F401  (a fixture)
)
from torch import Tensor, nn

import graphprune as gp
from graphprune.planning import make_plan

IMAGE, TOKENS = torch.zeros(2, 3, 6, 6), torch.zeros(2, 5, 6)


class Model(nn.Module):
    """The same parameters for every way to write it."""

    def __init__(self, layers: dict[str, nn.Module], function: Callable[..., Tensor]) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def _halves() -> dict[str, nn.Module]:
    return {
        "stem": nn.Conv2d(3, 16, 1),
        "f": nn.Conv2d(8, 10, 1),
        "g": nn.Conv2d(8, 10, 1),
        "o": nn.Conv2d(10, 4, 1),
    }


def _joined(m, a: Tensor, b: Tensor) -> Tensor:
    return m.o((m.f(a) - m.g(b)).relu())


def _indexed(m, x: Tensor) -> Tensor:
    x = m.stem(x)
    return _joined(m, x[:, :8], x[:, 8:])


def _narrowed(m, x: Tensor) -> Tensor:
    x = m.stem(x)
    return _joined(m, x.narrow(1, 0, 8), x.narrow(1, 8, 8))


HALVES = [
    lambda m, x: _joined(m, *m.stem(x).chunk(2, 1)),
    lambda m, x: _joined(m, *m.stem(x).split(8, 1)),
    lambda m, x: _joined(m, *m.stem(x).split([8, 8], dim=-3)),
    lambda m, x: _joined(m, *m.stem(x).tensor_split(2, 1)),
    _indexed,
    _narrowed,
]


def _mlp() -> dict[str, nn.Module]:
    return {"up": nn.Linear(6, 10), "down": nn.Linear(10, 4)}


def _addmm(m, x: Tensor) -> Tensor:
    rows = torch.addmm(m.up.bias, x.flatten(0, 1), m.up.weight.t()).relu()
    return m.down(rows).unflatten(0, (-1, 5))


MLP = [
    lambda m, x: m.down(m.up(x).relu()),
    lambda m, x: F.linear(F.linear(x, m.up.weight, m.up.bias).clamp(min=0), m.down.weight, m.down.bias),
    lambda m, x: m.down((x @ m.up.weight.t() + m.up.bias).relu_()),
    lambda m, x: m.down(torch.where((y := m.up(x)) > 0, y, torch.zeros_like(y))),
    lambda m, x: m.down((torch.einsum("bti,oi->bto", x, m.up.weight) + m.up.bias).relu()),
    lambda m, x: m.down(torch.matmul(x, m.up.weight.mT).add_(m.up.bias).relu()),
    lambda m, x: m.down(torch.maximum(m.up(x), torch.zeros(()))),
    lambda m, x: m.down(m.up(x.reshape(-1, 6)).relu()).view(-1, 5, 4),
    _addmm,
]


def _net() -> dict[str, nn.Module]:
    return {
        "a": nn.Conv2d(3, 8, 3),
        "b": nn.Conv2d(8, 8, 3, padding=1),
        "bn": nn.BatchNorm2d(8),
        "o": nn.Linear(8, 4),
    }


def _by_hand(m, x: Tensor) -> Tensor:
    bn = m.bn
    scale = bn.weight * (bn.running_var + bn.eps).rsqrt()
    return (x - bn.running_mean.view(-1, 1, 1)) * scale.view(1, -1, 1, 1) + bn.bias[None, :, None, None]


def _accumulated(m, x: Tensor) -> Tensor:
    x = m.a(x)
    y = m.bn(m.b(x))
    y += x
    return m.o(F.adaptive_avg_pool2d(y, 1).flatten(1))


def _residual(m, x: Tensor) -> Tensor:
    x = m.a(x)
    return x + m.bn(m.b(x))


NET = [
    lambda m, x: m.o(_residual(m, x).mean((2, 3))),
    lambda m, x: m.o(F.adaptive_avg_pool2d(_residual(m, x), (1, 1)).view(-1, 8)),
    lambda m, x: m.o(_residual(m, x).flatten(2).mean(-1)),
    lambda m, x: m.o(F.avg_pool2d(_residual(m, x), 4).squeeze(-1).squeeze(-1)),
    lambda m, x: m.o(_residual(m, x).sum((-2, -1)) / 16),
    lambda m, x: m.o(_residual(m, x).permute(0, 2, 3, 1).reshape(-1, 16, 8).mean(1)),
    _accumulated,
    lambda m, x: m.o(torch.add(_by_hand(m, m.b(y := m.a(x))), y).mean((2, 3))),
]


def _heads() -> dict[str, nn.Module]:
    return {"before": nn.Linear(6, 8), **{n: nn.Linear(8, 12) for n in "qkv"}, "o": nn.Linear(12, 4)}


def _attend(m, x: Tensor, split: Callable, join: Callable, attend: Callable) -> Tensor:
    x = m.before(x)
    return m.o(join(attend(*(split(layer(x)) for layer in (m.q, m.k, m.v)))))


def _manual(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(-2, -1) / 4**0.5).softmax(-1) @ v


def _einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = torch.einsum("bhid,bhjd->bhij", q * 0.5, k).softmax(-1)
    return torch.einsum("bhij,bhjd->bhid", weights, v)


def _batched(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    b = q.shape[0]
    q, k, v = (t.reshape(b * 3, 5, 4) for t in (q, k, v))
    return torch.bmm(torch.bmm(q, k.transpose(1, 2)).mul(0.5).softmax(-1), v).view(b, 3, 5, 4)


def _split(x: Tensor) -> Tensor:
    return x.view(-1, 5, 3, 4).transpose(1, 2)


def _join(x: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape(-1, 5, 12)


HEADS = [
    lambda m, x: _attend(m, x, _split, _join, F.scaled_dot_product_attention),
    lambda m, x: _attend(m, x, _split, _join, _manual),
    lambda m, x: _attend(m, x, _split, _join, _einsum),
    lambda m, x: _attend(m, x, _split, _join, _batched),
    lambda m, x: _attend(
        m,
        x,
        lambda y: y.unflatten(-1, (3, 4)).permute(0, 2, 1, 3),
        lambda y: y.movedim(1, 2).flatten(2),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.5),
    ),
]


def _shuffled() -> dict[str, nn.Module]:
    return {"a": nn.Conv2d(3, 12, 1), "b": nn.Conv2d(12, 12, 1, groups=3), "o": nn.Conv2d(12, 4, 1)}


SHUFFLED = [
    lambda m, x: m.o(F.channel_shuffle(m.b(m.a(x)), 3)),
    lambda m, x: m.o(m.b(m.a(x)).view(-1, 3, 4, 6, 6).transpose(1, 2).reshape(-1, 12, 6, 6)),
    lambda m, x: m.o(m.b(m.a(x)).unflatten(1, (3, 4)).permute(0, 2, 1, 3, 4).flatten(1, 2)),
    lambda m, x: m.o(
        m.b(m.a(x)).reshape(x.shape[0], 3, -1, 6, 6).movedim(1, 2).contiguous().view(-1, 12, 6, 6)
    ),
]


def _pointwise() -> dict[str, nn.Module]:
    return {"a": nn.Conv2d(3, 10, 3), "b": nn.Linear(10, 8), "o": nn.Linear(8, 4)}


POINTWISE = [
    lambda m, x: m.o(m.b(m.a(x).permute(0, 2, 3, 1)).relu()).mean((1, 2)),
    lambda m, x: m.o(m.b(m.a(x).flatten(2).transpose(1, 2)).relu()).mean(1),
    lambda m, x: m.o(F.conv2d(m.a(x), m.b.weight[:, :, None, None], m.b.bias).relu().flatten(2).mT).mean(1),
    lambda m, x: (
        m.o((torch.einsum("bchw,oc->bhwo", m.a(x), m.b.weight) + m.b.bias).relu()).flatten(1, 2).mean(1)
    ),
]

FAMILIES = {
    "halves": (_halves, HALVES, IMAGE),
    "mlp": (_mlp, MLP, TOKENS),
    "net": (_net, NET, IMAGE),
    "heads": (_heads, HEADS, TOKENS),
    "shuffled": (_shuffled, SHUFFLED, IMAGE),
    "pointwise": (_pointwise, POINTWISE, IMAGE),
}
CASES = [(family, way) for family, (_, ways, _) in FAMILIES.items() for way in range(len(ways))]

Groups = dict[frozenset[tuple[str, int]], list[int]]


def _model(family: str, way: int) -> nn.Module:
    layers, ways, _ = FAMILIES[family]
    torch.manual_seed(0)
    return randomise(Model(layers(), ways[way])).eval()


def _groups(graph: gp.DependencyGraph) -> Groups:
    """Members of every group, and the sizes of the groups with these members."""
    groups: Groups = {}
    for group in graph.groups:
        members = frozenset((member.tensor, member.dim) for member in group.members)
        groups.setdefault(members, []).append(group.size)
    return {members: sorted(found) for members, found in groups.items()}


@pytest.mark.parametrize(("family", "way"), CASES)
def test_the_ways_compute_the_same(family: str, way: int) -> None:
    x = torch.randn(FAMILIES[family][2].shape)
    with torch.no_grad():
        assert difference(_model(family, 0)(x), _model(family, way)(x)) < 1e-5


@pytest.mark.parametrize(("family", "way"), CASES)
def test_the_ways_have_the_same_groups(family: str, way: int) -> None:
    inputs = FAMILIES[family][2]
    assert _groups(gp.trace(_model(family, way), inputs)) == _groups(gp.trace(_model(family, 0), inputs))


@pytest.mark.parametrize(("family", "way"), CASES)
def test_the_ways_have_the_same_slim_model(family: str, way: int) -> None:
    inputs = FAMILIES[family][2]
    first = gp.shrink(_model(family, 0), inputs, ratio=0.5, importance="l2")
    second = gp.shrink(_model(family, way), inputs, ratio=0.5, importance="l2")
    assert {n: {d: k.tolist() for d, k in dims.items()} for n, dims in first.plan.kept.items()} == {
        n: {d: k.tolist() for d, k in dims.items()} for n, dims in second.plan.kept.items()
    }
    assert first.after.params == second.after.params
    x = torch.randn(3, *inputs.shape[1:])
    with torch.no_grad():
        assert difference(first.model(x), second.model(x)) < 1e-5
    assert_exact(_model(family, way), second, inputs, batch=3)


def test_heads_that_are_stacked_one_by_one_stay_and_get_thinner() -> None:
    """The one way that has fewer groups: every head is a tensor of its own."""

    def stacked(m, x: Tensor) -> Tensor:
        return _attend(
            m, x, lambda y: torch.stack(y.chunk(3, -1), 1), lambda y: torch.cat(y.unbind(1), -1), _manual
        )

    model = randomise(Model(_heads(), stacked))
    result = gp.shrink(model, TOKENS, ratio=0.5, importance="random")
    assert_exact(model, result, TOKENS, batch=3)
    wanted = _groups(gp.trace(_model("heads", 0), TOKENS))
    found = _groups(result.graph)
    assert {members for members, numbers in wanted.items() if numbers != [3]} == set(found)


def test_the_order_in_which_layers_are_registered_changes_nothing() -> None:
    first = _model("net", 0)
    turned = Model(dict(reversed(list(_net().items()))), NET[0])
    turned.load_state_dict(first.state_dict())
    assert _groups(gp.trace(first, IMAGE)) == _groups(gp.trace(turned, IMAGE))


def test_units_in_another_order_give_the_same_slim_model() -> None:
    """Permuting the hidden units of a model permutes the plan, and changes nothing else."""
    first, second = _model("mlp", 0), _model("mlp", 0)
    order = torch.randperm(10)
    with torch.no_grad():
        for tensor, dim in ((second.up.weight, 0), (second.up.bias, 0), (second.down.weight, 1)):
            tensor.copy_(tensor.index_select(dim, order))
    graph = gp.trace(first, TOKENS)
    kept = torch.tensor([0, 3, 4, 8])
    slim = gp.shrink(graph, plan=make_plan(graph, {"up.weight:0": kept})).model
    places = torch.tensor([int((order == unit).nonzero()) for unit in kept])
    other = gp.trace(second, TOKENS)
    same = gp.shrink(other, plan=make_plan(other, {"up.weight:0": places})).model
    x = torch.randn(3, 5, 6)
    with torch.no_grad():
        assert difference(slim(x), same(x)) < 1e-5

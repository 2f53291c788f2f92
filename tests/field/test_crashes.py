"""Where Torch-Pruning 1.6.1 crashes or never ends: every one of them compiles here, is exact and smaller."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from black_box import parameters, pins, randomise, shrunk, sizes
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import graphprune as gp
from graphprune.errors import BudgetError

IMAGE = torch.zeros(2, 3, 8, 8)


class Classifier(nn.Module):
    """conv → something → conv → head, for everything that sits between two convolutions."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, before, 3, padding=1), nn.Conv2d(after, 10, 1)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.between(self.first(x).relu()))
        return self.head(x.relu().mean((2, 3)))

    def between(self, x: Tensor) -> Tensor:
        return x


class LiteralView(Classifier):
    def __init__(self) -> None:
        super().__init__(12, 12)

    def between(self, x: Tensor) -> Tensor:
        return x.view(-1, 12, 64).view(-1, 3, 4, 8, 8).reshape(-1, 12, 8, 8)


def test_literal_view_sizes() -> None:
    result = shrunk(LiteralView(), IMAGE)
    assert sorted(sizes(result).values()) == [3, 4, 10]


class LiteralSplit(Classifier):
    def __init__(self) -> None:
        super().__init__(12, 7)
        self.other = nn.Conv2d(5, 7, 3, padding=1)

    def between(self, x: Tensor) -> Tensor:
        a, b = x.split([7, 5], 1)
        return a + self.other(b)


def test_literal_split_sizes() -> None:
    result = shrunk(LiteralSplit(), IMAGE)
    assert sizes(result) == {"first.weight:0/0": 7, "first.weight:0/1": 5, "second.weight:0": 10}


class InputResidual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.back, self.last = nn.Conv2d(16, 3, 3, padding=1), nn.Conv2d(3, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x + self.back(self.conv(x).relu()))


def test_residual_with_the_raw_input() -> None:
    result = shrunk(InputResidual(), IMAGE)
    assert sizes(result) == {"conv.weight:0": 16}
    assert "an input of the model" in pins(result, "back.weight", 0)


class BufferProduct(Classifier):
    def __init__(self) -> None:
        super().__init__(12, 12)
        self.register_buffer("scale", torch.rand(12, 1, 1) + 0.5)
        self.register_buffer("shift", torch.rand(1, 12, 1, 1), persistent=False)

    def between(self, x: Tensor) -> Tensor:
        return x * self.scale - self.shift


def test_multiplication_by_a_buffer() -> None:
    result = shrunk(BufferProduct(), IMAGE)
    assert sizes(result) == {"first.weight:0": 12, "second.weight:0": 10}
    assert result.model.scale.shape == (6, 1, 1)
    assert result.model.shift.shape == (1, 6, 1, 1)
    assert "shift" not in result.model.state_dict()


class ImageParameter(Classifier):
    def __init__(self) -> None:
        super().__init__(12, 12)
        self.position = nn.Parameter(torch.randn(1, 12, 8, 8))
        self.gamma = nn.Parameter(torch.randn(12, 1, 1))

    def between(self, x: Tensor) -> Tensor:
        return (x + self.position) * self.gamma


def test_a_parameter_shaped_like_an_image() -> None:
    result = shrunk(ImageParameter(), IMAGE)
    assert sizes(result) == {"first.weight:0": 12, "second.weight:0": 10}
    assert result.model.position.shape == (1, 6, 8, 8)


class ConcatenatedFeatures(nn.Module):
    """Along dimension 2 of 3."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(6, 10)
        self.head = nn.Linear(18, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.a(x).relu(), self.b(x).tanh()], 2))


def test_concatenation_along_dimension_2_of_3() -> None:
    result = shrunk(ConcatenatedFeatures(), torch.zeros(2, 5, 6))
    assert sizes(result) == {"a.weight:0": 8, "b.weight:0": 10}


class Unit(nn.Module):
    """Convolution, batch norm, SiLU: YOLO's block."""

    def __init__(self, i: int, o: int, k: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(i, o, k, padding=k // 2, groups=groups, bias=False)
        self.bn, self.act = nn.BatchNorm2d(o), nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, c: int, add: bool) -> None:
        super().__init__()
        self.cv1, self.cv2, self.add = Unit(c, c, 3), Unit(c, c, 3), add

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x)) if self.add else self.cv2(self.cv1(x))


class C2f(nn.Module):
    """YOLOv8's block: chunk, a chain of bottlenecks whose every stage is kept, concatenation."""

    def __init__(self, i: int, o: int, n: int, add: bool) -> None:
        super().__init__()
        self.c = o // 2
        self.cv1, self.cv2 = Unit(i, 2 * self.c), Unit((2 + n) * self.c, o)
        self.m = nn.ModuleList(Bottleneck(self.c, add) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))


@pytest.mark.parametrize("add", [True, False], ids=["residual", "plain"])
def test_c2f(add: bool) -> None:
    model = nn.Sequential(
        Unit(3, 8, 3), C2f(8, 12, 2, add), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4)
    )
    result = shrunk(model, IMAGE)
    inner = [6, 6, 6, 6] if add else [6, 6, 6, 6, 6, 6]
    assert sorted(sizes(result).values()) == [*inner, 8, 12]
    kept = result.plan.kept
    assert torch.equal(kept["1.cv1.conv.weight"][0], kept["1.cv1.bn.running_mean"][0])
    assert len(kept["1.cv2.conv.weight"][1]) == 12


class Spatial(Classifier):
    def __init__(self, up: bool) -> None:
        super().__init__(16, 4 if up else 64)
        self.rearrange = nn.PixelShuffle(2) if up else nn.PixelUnshuffle(2)

    def between(self, x: Tensor) -> Tensor:
        return self.rearrange(x)


@pytest.mark.parametrize("up", [True, False], ids=["shuffle", "unshuffle"])
def test_pixel_shuffle(up: bool) -> None:
    result = shrunk(Spatial(up), IMAGE)
    assert sorted(sizes(result).values()) == ([4, 10] if up else [10, 16])
    assert result.model.first.out_channels == 8


class DepthwiseMultiplier(Classifier):
    def __init__(self) -> None:
        super().__init__(8, 24)
        self.depthwise, self.norm = nn.Conv2d(8, 24, 3, padding=1, groups=8), nn.BatchNorm2d(24)

    def between(self, x: Tensor) -> Tensor:
        return self.norm(self.depthwise(x)).relu()


def test_depthwise_multiplier() -> None:
    result = shrunk(DepthwiseMultiplier(), IMAGE)
    assert sorted(sizes(result).values()) == [3, 8, 10]
    assert result.model.depthwise.groups == 4


class FancyIndex(Classifier):
    def __init__(self) -> None:
        super().__init__(12, 12)
        self.register_buffer("order", torch.randperm(12))
        self.register_buffer("rows", torch.tensor([0, 2, 4, 6]))
        self.last = nn.Conv2d(12, 12, 3)

    def between(self, x: Tensor) -> Tensor:
        x = x[:, self.order]
        return self.last(x).relu()[:, :, self.rows % 6]


def test_fancy_indexing() -> None:
    result = shrunk(FancyIndex(), IMAGE)
    assert sizes(result) == {"last.weight:0": 12, "second.weight:0": 10}
    assert pins(result, "first.weight", 0) == {"indexed by data"}


class Gram(nn.Module):
    """Style features: the Gram matrix of a feature map, and a linear layer on its entries."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 6, 3), nn.Linear(36, 4)
        self.left, self.right = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 7, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x).flatten(2)
        left, right = self.left(x).flatten(2), self.right(x).flatten(2)
        between = left.transpose(1, 2) @ left + right.transpose(1, 2) @ right
        return self.out((y @ y.transpose(1, 2) / y.shape[2]).flatten(1)), between


def test_gram_matrix() -> None:
    result = shrunk(Gram(), IMAGE)
    assert sizes(result)["left.weight:0"] == 5
    assert sizes(result)["right.weight:0"] == 7
    print(sizes(result))


class BesideTokens(nn.Module):
    """conv → flatten → linear beside a linear on three dimensions, added."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.flat = nn.Conv2d(3, 6, 3), nn.Linear(6 * 36, 12)
        self.tokens, self.out = nn.Linear(9, 12), nn.Linear(12, 5)

    def forward(self, image: Tensor, tokens: Tensor) -> Tensor:
        x = self.flat(self.conv(image).relu().flatten(1))
        return self.out((self.tokens(tokens) + x[:, None]).relu())


def test_flattened_convolution_beside_a_linear_on_three_dimensions() -> None:
    result = shrunk(BesideTokens(), (IMAGE, torch.zeros(2, 5, 9)))
    assert sizes(result) == {"conv.weight:0": 6, "flat.weight:0": 12}
    assert torch.equal(result.plan.kept["flat.weight"][0], result.plan.kept["tokens.weight"][0])


class Reparametrised(nn.Module):
    def __init__(self, wrap) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.middle = wrap(nn.Conv2d(8, 8, 3, padding=1))
        self.linear, self.head = wrap(nn.Linear(8, 10)), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(self.first(x).relu()).relu().mean((2, 3))
        return self.head(self.linear(x).relu())


@pytest.mark.parametrize(
    "wrap", [parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal]
)
def test_reparametrised_weights(wrap) -> None:
    model = Reparametrised(wrap)
    result = gp.shrink(model, IMAGE, ratio=0.5, importance="random")
    print(sizes(result), result.model)
    for g in result.graph.groups: print(g.name, g.size, g.members)
    for n in result.graph.tensor_terms:
        for d, t in enumerate(result.graph.tensor_terms[n]): print(n, d, t, pins(result, n, d))

"""Where Torch-Pruning 1.6.1 crashes or never ends: every one of them compiles here, is exact and smaller."""

from __future__ import annotations

import copy
from functools import partial

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
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import spectral_norm as old_spectral_norm
from torch.nn.utils import weight_norm as old_weight_norm

import graphprune as gp
from graphprune.ground.errors import BudgetError

OLD = pytest.mark.filterwarnings("ignore::FutureWarning")
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
        self.middle, self.last = nn.Conv2d(12, 14, 3), nn.Conv2d(14, 12, 2)
        self.window = nn.MaxPool2d(2, 1)

    def between(self, x: Tensor) -> Tensor:
        x = self.last(self.middle(x[:, self.order]).relu()[:, :, [0, 2, 2, 4]])
        return self.window(x[..., torch.tensor([0, 2])[:, None], torch.tensor([1, 3])])


def test_fancy_indexing() -> None:
    result = shrunk(FancyIndex(), IMAGE)
    found = sizes(result)
    assert (found["middle.weight:0"], found["last.weight:0"], found["second.weight:0"]) == (14, 12, 10)
    assert found["first.weight:0"] == 12


class ChosenRows(Classifier):
    """Rows chosen by a table, and an average over them."""

    def __init__(self) -> None:
        super().__init__(12, 12)

    def between(self, x: Tensor) -> Tensor:
        return x[:, :, [0, 2, 2, 4]]


def test_places_chosen_by_a_table_are_no_units() -> None:
    assert sizes(shrunk(ChosenRows(), IMAGE)) == {"first.weight:0": 12, "second.weight:0": 10}


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
    assert sizes(result) == {"left.weight:0": 5, "right.weight:0": 7, "conv.weight:0": 6}


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
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 8, 1))
        self.conv = wrap(nn.Conv2d(8, 6, 3, padding=1))
        self.linear, self.head = wrap(nn.Linear(6, 8)), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.stem(x).relu()).relu().mean((2, 3))
        return self.head(self.linear(x).relu())


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        *(
            (wrap, partial(parametrize.remove_parametrizations, tensor_name="weight"))
            for wrap in (
                parametrizations.weight_norm,
                parametrizations.spectral_norm,
                parametrizations.orthogonal,
            )
        ),
        pytest.param(old_weight_norm, torch.nn.utils.remove_weight_norm, marks=OLD),
        pytest.param(old_spectral_norm, torch.nn.utils.remove_spectral_norm, marks=OLD),
    ],
)
def test_reparametrised_weights(wrap, unwrap) -> None:
    """The same as for the model whose weights are made plain by torch's own means."""
    model = randomise(Reparametrised(wrap)).eval()
    with torch.no_grad():
        model(IMAGE)  # the old kind computes its weight before each call
    result = gp.shrink(model, IMAGE, ratio=0.5, importance="random")
    plain = copy.deepcopy(model)
    unwrap(plain.conv)
    unwrap(plain.linear)
    twin = gp.shrink(plain, IMAGE, ratio=0.5, importance="random")
    assert_exact(plain, twin, IMAGE)
    assert sizes(result) == sizes(twin)
    x = torch.randn(IMAGE.shape)
    torch.testing.assert_close(result.model(x), twin.model(x))


class WindowAttention(nn.Module):
    """Swin: cyclic shift, windows, relative positions, a mask between windows; then patch merging."""

    def __init__(self, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)
        self.fc1, self.fc2 = nn.Linear(16, 32), nn.Linear(32, 16)
        self.table = nn.Parameter(torch.randn(9, 4))
        i = torch.arange(4)
        offsets = torch.stack([i // 2, i % 2])
        offsets = offsets[:, :, None] - offsets[:, None, :] + 1
        self.register_buffer("index", (offsets[0] * 3 + offsets[1]).flatten(), persistent=False)
        mask = torch.zeros(16, 4, 4)
        mask[3::4, :2, 2:] = -100.0
        self.register_buffer("mask", mask, persistent=False)

    def attend(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        x = torch.roll(x, (-self.shift, -self.shift), (1, 2)) if self.shift else x
        x = x.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
        q, k, v = self.qkv(x).reshape(-1, 4, 3, 4, c // 4).permute(2, 0, 3, 1, 4)
        logits = (q * (c // 4) ** -0.5) @ k.transpose(-2, -1)
        bias = self.table[self.index].view(4, 4, -1).permute(2, 0, 1)
        logits = logits + bias[None]
        if self.shift:
            windows = (h // 2) * (w // 2)
            logits = logits.view(-1, windows, 4, 4, 4) + self.mask[None, :, None]
            logits = logits.view(-1, 4, 4, 4)
        x = (logits.softmax(-1) @ v).transpose(1, 2).reshape(-1, 4, c)
        x = self.proj(x).view(b, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        return torch.roll(x, (self.shift, self.shift), (1, 2)) if self.shift else x

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class PatchMerging(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(64), nn.Linear(64, 24, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.reduce(self.norm(torch.cat(parts, -1)))


class Swin(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 4, stride=4)
        self.blocks = nn.Sequential(WindowAttention(0), WindowAttention(1))
        self.merge, self.head = PatchMerging(), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).permute(0, 2, 3, 1)
        return self.head(self.merge(self.blocks(x)).mean((1, 2)))


def test_window_attention_and_patch_merging() -> None:
    result = shrunk(Swin(), torch.zeros(2, 3, 32, 32))
    found = sizes(result)
    # the residual stream; heads and their width, hidden units of each block; the merged width
    assert found.pop("embed.weight:0") == 16
    assert found.pop("merge.reduce.weight:0") == 24
    for block in ("blocks.0.", "blocks.1."):
        assert found.pop(f"{block}fc1.weight:0") == 32
        own = [found.pop(name) for name in list(found) if name.startswith(block)]
        assert own == [4, 4]
    assert not found
    kept = result.plan.kept
    assert len(kept["blocks.0.table"][1]) == 2  # as many heads as the projection keeps
    heads = torch.unique(kept["blocks.0.proj.weight"][1] // 4)
    assert torch.equal(heads, kept["blocks.0.table"][1])
    assert "blocks.0.index" not in kept


class ShuffleUnit(nn.Module):
    """ShuffleNetV2's unit."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.stride, half = stride, o // 2
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(*self.depthwise(i, stride), *self.pointwise(i, half))
        entry = i if stride > 1 else half
        self.branch2 = nn.Sequential(
            *self.pointwise(entry, half), *self.depthwise(half, stride), *self.pointwise(half, half)
        )

    @staticmethod
    def depthwise(c: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(c, c, 3, stride, 1, groups=c, bias=False), nn.BatchNorm2d(c)]

    @staticmethod
    def pointwise(i: int, o: int) -> list[nn.Module]:
        return [nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            a, b = x.chunk(2, dim=1)
            x = torch.cat((a, self.branch2(b)), dim=1)
        else:
            x = torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        b, c, h, w = x.shape
        return x.view(b, 2, c // 2, h, w).transpose(1, 2).contiguous().view(b, c, h, w)


def test_shufflenet_units() -> None:
    model = nn.Sequential(
        *ShuffleUnit.pointwise(3, 8),
        ShuffleUnit(8, 16, 2),
        ShuffleUnit(16, 16, 1),
        ShuffleUnit(16, 16, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )
    result = shrunk(model, IMAGE)
    found = sizes(result)
    assert found.pop("0.weight:0") == 8
    for i in (3, 4, 5):
        assert found.pop(f"{i}.branch2.0.weight:0") == 8
    assert sorted(found.values()) == [2, 2, 4]  # one stage: 8 and 8 channels, halved by every shuffle


def test_a_fully_frozen_model() -> None:
    model = BufferProduct().requires_grad_(False)
    result = shrunk(model, IMAGE)
    assert sizes(result) == {"first.weight:0": 12, "second.weight:0": 10}
    assert not any(parameter.requires_grad for parameter in result.model.parameters())


def test_a_frozen_model_without_anything_to_remove_is_returned_as_it_is() -> None:
    model = nn.Linear(4, 3).requires_grad_(False)
    result = gp.shrink(model, torch.zeros(2, 4), ratio=0.5)
    assert sizes(result) == {}
    assert parameters(result.model) == parameters(model)
    with pytest.raises(BudgetError, match="cannot be reached"):
        gp.shrink(model, torch.zeros(2, 4), params=0.5)


class JoinedExamples(nn.Module):
    """All examples twice, and then every two of them as one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
        self.head = nn.Linear(2 * 4 * 64, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x).relu())
        return self.head(torch.cat([y, y], 0).reshape(x.shape[0], -1))


def test_a_batch_that_is_joined_with_itself_and_regrouped() -> None:
    """The rows of one batch then lie across those of the other; found by random models."""
    result = shrunk(JoinedExamples(), IMAGE, batch=5)
    assert sizes(result) == {"first.weight:0": 8}

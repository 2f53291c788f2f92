"""Small networks that each hold one way of building that transformers and classifiers lack; for tests.

Images are (batch, channels, height, width), sequences (batch, channels, time), tokens (batch, time).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from models_zoo.inputs import gaussian
from models_zoo.registry import ExampleInputs, SmallModel

__all__ = ["BLOCKS"]

LABELS, BINS, VOCABULARY = 7, 6, 120
transposed = partial(nn.ConvTranspose2d, kernel_size=2, stride=2)


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution that keeps the size (or divides it by the stride), batch norm and SiLU."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.SiLU())


def pooled(width: int) -> nn.Sequential:
    """Average over all positions, then logits."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, LABELS))


class Residual(nn.Module):
    """x plus (or else combined with) what ``branch`` makes of it."""

    def __init__(self, *branch: nn.Module, combine: Callable[[Tensor, Tensor], Tensor] = torch.add) -> None:
        super().__init__()
        self.branch, self.combine = nn.Sequential(*branch), combine

    def forward(self, x: Tensor) -> Tensor:
        return self.combine(x, self.branch(x))


class Together(nn.ModuleList):
    """What several layers make of one tensor, concatenated over channels."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([layer(x) for layer in self], 1)


class Swap(nn.Module):
    """(batch, a, b) -> (batch, b, a)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class C2f(nn.Module):
    """YOLOv8's block: two halves, a chain that starts at the second, and all of it concatenated."""

    def __init__(self, inputs: int, outputs: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.enter = conv(inputs, 2 * hidden, 1)
        self.chain = nn.ModuleList(Residual(conv(hidden, hidden), conv(hidden, hidden)) for _ in range(depth))
        self.leave = conv((2 + depth) * hidden, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.enter(x).chunk(2, 1))
        for block in self.chain:
            parts.append(block(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class PoolingPyramid(nn.Module):
    """SPPF: one max pooling, applied up to three times, all results concatenated."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.enter, self.leave = conv(width, hidden, 1), conv(4 * hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.enter(x)]
        for _ in range(3):
            maps.append(F.max_pool2d(maps[-1], 5, 1, 2))
        return self.leave(torch.cat(maps, 1))


class Detect(nn.Module):
    """Anchor-free decoupled head: maps -> (batch, 4 box coordinates + LABELS, positions of all maps)."""

    def __init__(self, widths: tuple[int, ...], strides: tuple[int, ...]) -> None:
        super().__init__()
        self.strides = strides
        self.boxes = nn.ModuleList(self.branch(width, 18, 4 * BINS) for width in widths)
        self.classes = nn.ModuleList(self.branch(width, 22, LABELS) for width in widths)
        self.expectation = nn.Conv2d(BINS, 1, 1, bias=False).requires_grad_(False)
        self.expectation.weight.data = torch.arange(float(BINS)).reshape(1, BINS, 1, 1)

    @staticmethod
    def branch(width: int, hidden: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(conv(width, hidden), conv(hidden, hidden), nn.Conv2d(hidden, outputs, 1))

    def forward(self, maps: list[Tensor]) -> Tensor:
        heads = zip(maps, self.boxes, self.classes, strict=True)
        levels = [torch.cat((box(x), label(x)), 1).flatten(2) for x, box, label in heads]
        sides, logits = torch.cat(levels, 2).split((4 * BINS, LABELS), 1)
        spread = sides.unflatten(1, (4, BINS)).transpose(1, 2).softmax(1)
        before, after = self.expectation(spread).squeeze(1).chunk(2, 1)
        centres, scale = self.places(maps).split((2, 1))
        low, high = centres - before, centres + after
        return torch.cat(((low + high) / 2 * scale, (high - low) * scale, logits.sigmoid()), 1)

    def places(self, maps: list[Tensor]) -> Tensor:
        """Column and row of every position's middle, and its stride, which is their unit: (3, positions)."""
        levels = []
        for x, stride in zip(maps, self.strides, strict=True):
            ticks = [torch.arange(size, device=x.device) + 0.5 for size in x.shape[2:]]
            rows, columns = torch.meshgrid(*ticks, indexing="ij")
            levels.append(torch.stack((columns, rows, torch.full_like(rows, stride))).flatten(1))
        return torch.cat(levels, 1)


class Yolo(nn.Module):
    """YOLOv8's plan: backbone, pooling pyramid, a neck up and down again, detection on two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 12, 3, 2), conv(12, 20, 3, 2), C2f(20, 20, 10, 1))
        self.middle = nn.Sequential(conv(20, 28, 3, 2), C2f(28, 28, 14, 2))
        self.deep = nn.Sequential(conv(28, 36, 3, 2), C2f(36, 36, 16, 1), PoolingPyramid(36, 15))
        self.up, self.top = nn.Upsample(scale_factor=2), C2f(36 + 28, 26, 13, 1)
        self.down, self.bottom = conv(26, 24, 3, 2), C2f(24 + 36, 34, 17, 1)
        self.detect = Detect((26, 34), (8, 16))

    def forward(self, x: Tensor) -> Tensor:
        middle = self.middle(self.stem(x))
        deep = self.deep(middle)
        top = self.top(torch.cat((self.up(deep), middle), 1))
        return self.detect([top, self.bottom(torch.cat((self.down(top), deep), 1))])


class SpaceToDepth(nn.Module):
    """YOLOv5's focus: every second row and column, four times."""

    def forward(self, x: Tensor) -> Tensor:
        even, odd = x[..., ::2, :], x[..., 1::2, :]
        return torch.cat((even[..., ::2], odd[..., ::2], even[..., 1::2], odd[..., 1::2]), 1)


def c3(inputs: int, outputs: int, hidden: int) -> nn.Sequential:
    """YOLOv5's block: a chain beside a short way, concatenated."""
    chain = nn.Sequential(conv(inputs, hidden, 1), Residual(conv(hidden, hidden, 1), conv(hidden, hidden)))
    return nn.Sequential(Together([chain, conv(inputs, hidden, 1)]), conv(2 * hidden, outputs, 1))


class UNet(nn.Module):
    """Two levels down, two up; ``up`` makes the layers that double the size."""

    def __init__(self, up: Callable[[int, int], nn.Module], widths: tuple[int, ...] = (12, 20, 28)) -> None:
        super().__init__()
        self.down = nn.ModuleList(map(conv, (3, *widths[:-1]), widths))
        self.up = nn.ModuleList(map(up, widths[:0:-1], widths[-2::-1]))
        self.merge = nn.ModuleList(conv(2 * width, width) for width in widths[-2::-1])
        self.head = nn.Conv2d(widths[0], LABELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.down[0](x)]
        for layer in list(self.down)[1:]:
            skips.append(layer(F.max_pool2d(skips[-1], 2)))
        x = skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat((skips.pop(), up(x)), 1))
        return self.head(x)


def bilinear(inputs: int, outputs: int) -> nn.Module:
    """Doubles the size by interpolation."""
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), conv(inputs, outputs, 1))


class StandardisedConv(nn.Conv2d):
    """Weight standardisation (Qiao et al., 2019): every filter has mean 0 and variance 1."""

    def forward(self, x: Tensor) -> Tensor:
        spread, mean = torch.std_mean(self.weight, (1, 2, 3), keepdim=True)
        return self._conv_forward(x, (self.weight - mean) / (spread + 1e-5), self.bias)


class Recurrent(nn.Module):
    """Tokens to logits; a recurrent layer gives them at its last step, or at every one if bidirectional."""

    def __init__(self, layer: Callable[..., nn.Module], **options: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 20)
        self.tags = options.get("bidirectional", False)
        self.layer = layer(20, 28, batch_first=True, **options)
        self.head = nn.Linear(28 * (1 + self.tags), LABELS)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.layer(self.embedding(tokens))
        return self.head(states if self.tags else states[:, -1])


def c3_net() -> nn.Module:
    """YOLOv5's backbone as a classifier."""
    return nn.Sequential(SpaceToDepth(), c3(12, 20, 8), conv(20, 28, 3, 2), c3(28, 36, 14), pooled(36))


def text_cnn() -> nn.Module:
    """Kim, "Convolutional Neural Networks for Sentence Classification", 2014."""
    convs = (nn.Conv1d(20, 10 + size, size) for size in (2, 3, 4))
    branches = (nn.Sequential(layer, nn.ReLU(), nn.AdaptiveMaxPool1d(1)) for layer in convs)
    head = (nn.Flatten(), nn.Linear(12 + 13 + 14, LABELS))
    return nn.Sequential(nn.Embedding(VOCABULARY, 20), Swap(), Together(branches), *head)


def temporal_net() -> nn.Module:
    """(batch, 6, time) -> (batch, LABELS, time): causal dilated convolutions, 15 steps deep, with weight norm."""
    layers: list[nn.Module] = []
    for a, b, gap in ((6, 12, 1), (12, 20, 2), (20, 28, 4)):
        layers += (nn.ZeroPad1d((2 * gap, 0)), weight_norm(nn.Conv1d(a, b, 3, dilation=gap)), nn.ReLU())
    return nn.Sequential(*layers, nn.Conv1d(28, LABELS, 1))


def standardised_net() -> nn.Module:
    """A residual network of standardised convolutions and group norm."""
    units = [(nn.GroupNorm(4, 16), nn.ReLU(), StandardisedConv(16, 16, 3, padding=1)) for _ in range(4)]
    blocks = (Residual(*units[0], *units[1]), Residual(*units[2], *units[3]))
    return nn.Sequential(StandardisedConv(3, 16, 3, padding=1), *blocks, pooled(16))


def spectral_net() -> nn.Module:
    """A discriminator: strided convolutions with spectral norm."""
    layers = [spectral_norm(nn.Conv2d(a, b, 4, 2, 1)) for a, b in ((3, 12), (12, 20), (20, 28))]
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.LeakyReLU(0.2))), pooled(28))


def squeeze_net() -> nn.Module:
    """A residual block whose branch ends in a squeeze-excite."""
    gate = (nn.AdaptiveAvgPool2d(1), nn.Conv2d(20, 5, 1), nn.ReLU(), nn.Conv2d(5, 20, 1), nn.Sigmoid())
    block = Residual(conv(20, 14, 1), conv(14, 20), Residual(*gate, combine=torch.mul))
    return nn.Sequential(conv(3, 20), block, pooled(20))


def mixer_net() -> nn.Module:
    """MLP-Mixer: perceptrons over positions and over channels in turn (Tolstikhin et al., 2021)."""

    def mixer() -> tuple[nn.Module, ...]:
        mix = Residual(nn.LayerNorm(24), Swap(), nn.Linear(16, 18), nn.GELU(), nn.Linear(18, 16), Swap())
        return mix, Residual(nn.LayerNorm(24), nn.Linear(24, 44), nn.GELU(), nn.Linear(44, 24))

    patches = (nn.Conv2d(3, 24, 8, 8), nn.Flatten(2), Swap())
    head = (nn.LayerNorm(24), Swap(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(24, LABELS))
    return nn.Sequential(*patches, *mixer(), *mixer(), *head)


def super_resolution() -> nn.Module:
    """(batch, 3, H, W) -> (batch, 3, 2 H, 2 W) by a pixel shuffle."""
    body = (Residual(conv(16, 16), nn.Conv2d(16, 16, 3, padding=1)) for _ in range(2))
    up = (nn.Conv2d(16, 4 * 12, 3, padding=1), nn.PixelShuffle(2), nn.PReLU())
    return nn.Sequential(nn.Conv2d(3, 16, 5, padding=2), *body, *up, nn.Conv2d(12, 3, 3, padding=1))


def _tokens(batch: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    return (torch.randint(VOCABULARY, (batch, 11), generator=generator),), {}


def _seeded(factory: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return factory().eval()


ROWS: tuple[tuple[str, Callable[[], nn.Module], ExampleInputs], ...] = (
    ("yolo", Yolo, gaussian(3, 64, 64)),
    ("yolo_c3", c3_net, gaussian(3, 32, 32)),
    ("unet_transposed", partial(UNet, transposed), gaussian(3, 32, 32)),
    ("unet_bilinear", partial(UNet, bilinear), gaussian(3, 32, 32)),
    ("text_cnn", text_cnn, _tokens),
    ("temporal_conv", temporal_net, gaussian(6, 24)),
    ("weight_standardised", standardised_net, gaussian(3, 16, 16)),
    ("spectral_norm", spectral_net, gaussian(3, 32, 32)),
    ("lstm", partial(Recurrent, nn.LSTM), _tokens),
    ("gru_tagger", partial(Recurrent, nn.GRU, num_layers=2, bidirectional=True), _tokens),
    ("mlp_mixer", mixer_net, gaussian(3, 32, 32)),
    ("squeeze_excite", squeeze_net, gaussian(3, 32, 32)),
    ("super_resolution", super_resolution, gaussian(3, 16, 16)),
)

#: name -> model with random weights; the same at each call of `build`.
BLOCKS: Mapping[str, SmallModel] = MappingProxyType(
    {name: SmallModel(name, partial(_seeded, factory), inputs) for name, factory, inputs in ROWS}
)

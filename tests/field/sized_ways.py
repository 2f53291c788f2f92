"""Small networks that go another way at most sizes, or ask for multiples in several inputs at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sized_images import Stem
from torch import Tensor, nn


class TwoImages(Stem):
    """Both of one size, which is a multiple of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.o = nn.Conv2d(32, 4, 1)

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        height, width = one.shape[-2:]
        if one.shape[-2:] != two.shape[-2:]:
            raise ValueError("the images are not of one size")
        if height % 4 or width % 4:
            raise ValueError("the sizes are no multiples of 4")
        return F.pixel_unshuffle(self.o(torch.cat([self.features(one), self.features(two)], 1)), 2)


class ResizedToFours(Stem):
    """What is no multiple of 4 is resized, and back."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        taken = -(-height // 4) * 4, -(-width // 4) * 4
        resized = taken != (height, width)
        if resized:
            x = F.interpolate(x, size=taken, mode="bilinear")
        y = self.o(self.features(x))
        return F.interpolate(y, size=(height, width), mode="bilinear") if resized else y


class PaddedByRemainder(Stem):
    """As TensorFlow pads: how much depends on what is left of the size."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.a, self.b):
            stride = layer.stride[0]
            wanted = [3 - (size % stride or stride) for size in x.shape[-2:]]
            height, width = (max(number, 0) for number in wanted)
            x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
            x = F.conv2d(x, layer.weight, layer.bias, stride).relu()
        return self.o(x)


class OneWindow(Stem):
    """Windows move only in images that are larger than one: the example is as large as a window."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x)
        if y.shape[2] > 16:
            y = torch.roll(y, 8, 2)
        return self.o(y - y.mean(2, keepdim=True))


class LargeImages(Stem):
    """Small ones are enlarged: the example is the smallest that is not."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[3] < 32:
            x = F.interpolate(x, scale_factor=2.0)
        return self.o(self.features(x)).mean((2, 3))


class TableOfSizes(Stem):
    """A number is looked up by the size of an inner tensor, which cannot be followed; large images go another way."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x)
        scale = [1.0 + n for n in range(99)][y.shape[2] // 8]
        if x.shape[2] > 32:
            y = F.avg_pool2d(y, 2)
        return self.o(y * scale).mean((2, 3))

"""Small networks on images that read their inputs' sizes, each in a way of its own."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Stem(nn.Module):
    """A prunable convolution or two, and a head that others add to."""

    def __init__(self, width: int = 16, stride: int = 2, classes: int = 4) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, width, 3, stride, 1)
        self.b = nn.Conv2d(width, width, 3, padding=1)
        self.o = nn.Conv2d(width, classes, 1)

    def features(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu()).relu()


class InterpolateToInput(Stem):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.o(self.features(x)), size=x.shape[-2:], mode="bilinear")


class InterpolateByFactor(Stem):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.o(self.features(x)), scale_factor=2.0, mode="bilinear")


class InterpolateToHalf(Stem):
    """A size by way of a float."""

    def forward(self, x: Tensor) -> Tensor:
        size = (int(x.shape[2] * 0.5), x.shape[3] // 2)
        return F.interpolate(self.o(self.features(x)), size=size, mode="nearest")


class PoolToEighths(Stem):
    def forward(self, x: Tensor) -> Tensor:
        size = (math.ceil(x.shape[2] / 8), -(-x.shape[3] // 8))
        return self.o(F.adaptive_avg_pool2d(self.features(x), size))


class Aspp(Stem):
    """Global context, spread over the feature map again."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(16, 8, 3, padding=2, dilation=2)
        self.near = nn.Conv2d(16, 8, 1)
        self.whole = nn.Conv2d(16, 8, 1)
        self.project = nn.Conv2d(24, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x)
        pooled = self.whole(F.adaptive_avg_pool2d(y, 1)).relu()
        pooled = F.interpolate(pooled, size=y.shape[-2:], mode="bilinear", align_corners=False)
        y = self.project(torch.cat([self.wide(y), self.near(y), pooled], 1))
        return F.interpolate(self.o(y), size=x.shape[-2:], mode="bilinear", align_corners=False)


class UNet(nn.Module):
    """Two levels; ``pad`` makes the upper one fit where a size is odd."""

    def __init__(self, pad: bool) -> None:
        super().__init__()
        self.pad = pad
        self.down = nn.ModuleList([nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)])
        self.middle = nn.Conv2d(16, 24, 3, padding=1)
        self.rise = nn.ModuleList([nn.ConvTranspose2d(24, 16, 2, 2), nn.ConvTranspose2d(16, 8, 2, 2)])
        self.up = nn.ModuleList([nn.Conv2d(32, 16, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)])
        self.o = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for layer in self.down:
            x = layer(x).relu()
            kept.append(x)
            x = F.max_pool2d(x, 2)
        x = self.middle(x).relu()
        for rise, layer in zip(self.rise, self.up, strict=True):
            x, other = rise(x), kept.pop()
            if self.pad:
                high, wide = other.size(2) - x.size(2), other.size(3) - x.size(3)
                x = F.pad(x, [wide // 2, wide - wide // 2, high // 2, high - high // 2])
            x = layer(torch.cat([other, x], 1)).relu()
        return self.o(x)


class Fpn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList(nn.Conv2d(i, o, 3, 2, 1) for i, o in [(3, 8), (8, 12), (12, 16)])
        self.inner = nn.ModuleList(nn.Conv2d(i, 8, 1) for i in (8, 12, 16))
        self.outer = nn.ModuleList(nn.Conv2d(8, 4, 3, padding=1) for _ in range(3))

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = []
        for layer in self.body:
            x = layer(x).relu()
            levels.append(x)
        last, found = None, []
        for level, inner, outer in zip(levels[::-1], self.inner[::-1], self.outer, strict=True):
            y = inner(level)
            if last is not None:
                y = y + F.interpolate(last, size=y.shape[-2:], mode="nearest")
            last = y
            found.append(outer(last))
        return found


class MeshGridHead(Stem):
    """Anchors by arange and meshgrid, shifted by what the head says."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.o(self.features(x))
        high, wide = y.shape[-2:]
        ys = (torch.arange(high, dtype=y.dtype, device=y.device) + 0.5) * (x.shape[2] / high)
        xs = (torch.arange(wide, dtype=y.dtype, device=y.device) + 0.5) * (x.shape[3] / wide)
        gy, gx = torch.meshgrid(ys, xs, indexing="ij")
        centres = torch.stack([gx, gy], -1).reshape(-1, 2)
        anchors = torch.cat([centres - 4, centres + 4], 1)
        return anchors + y.flatten(2).transpose(1, 2)


class SsdHead(nn.Module):
    """Two levels of boxes and classes, with default boxes in units of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList([nn.Conv2d(3, 12, 3, 2, 1), nn.Conv2d(12, 16, 3, 2, 1)])
        self.boxes = nn.ModuleList([nn.Conv2d(12, 8, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)])
        self.scores = nn.ModuleList([nn.Conv2d(12, 6, 1), nn.Conv2d(16, 6, 1)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        boxes, scores = [], []
        for body, box, score in zip(self.body, self.boxes, self.scores, strict=True):
            x = F.relu6(body(x))
            n, _, h, w = x.shape
            places = box(x).view(n, -1, 4, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, 4)
            gy, gx = torch.meshgrid(torch.arange(h) / h, torch.arange(w) / w, indexing="ij")
            default = torch.stack((gx.reshape(-1), gy.reshape(-1)) * 2, dim=-1).to(places)
            boxes.append(places + default.repeat_interleave(2, 0))
            scores.append(score(x).view(n, -1, 3, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, 3))
        return torch.cat(boxes, 1), torch.cat(scores, 1).softmax(-1)


class YoloHead(nn.Module):
    """Two strides, three anchors, five figures each."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList([nn.Conv2d(3, 12, 3, 4, 1), nn.Conv2d(12, 16, 3, 2, 1)])
        self.heads = nn.ModuleList([nn.Conv2d(12, 15, 1), nn.Conv2d(16, 15, 1)])
        self.register_buffer("anchors", torch.rand(2, 3, 2) * 8 + 4)

    def forward(self, x: Tensor) -> Tensor:
        found = []
        size = x.shape[2]
        for i, (body, head) in enumerate(zip(self.body, self.heads, strict=True)):
            x = F.silu(body(x))
            y = head(x)
            bs, _, ny, nx = y.shape
            y = y.view(bs, 3, 5, ny, nx).permute(0, 1, 3, 4, 2).contiguous()
            stride = size // ny
            gy, gx = torch.meshgrid(torch.arange(ny), torch.arange(nx), indexing="ij")
            grid = torch.stack((gx, gy), 2).expand(1, 3, ny, nx, 2).to(y) - 0.5
            anchor = self.anchors[i].view(1, 3, 1, 1, 2).expand(1, 3, ny, nx, 2)
            xy, wh, conf = y.sigmoid().split((2, 2, 1), 4)
            y = torch.cat(((xy * 2 + grid) * stride, (wh * 2) ** 2 * anchor, conf), 4)
            found.append(y.view(bs, 3 * ny * nx, 5))
        return torch.cat(found, 1)


class NormalisedBoxes(Stem):
    """A tensor made of sizes."""

    def forward(self, x: Tensor) -> Tensor:
        boxes = self.o(self.features(x)).mean((2, 3))
        return boxes / torch.tensor([x.shape[3], x.shape[2], x.shape[3], x.shape[2]], dtype=x.dtype)


class NonLocal(Stem):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 1), nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x)
        n, c, h, w = y.shape
        q, k, v = self.q(y).view(n, -1, h * w), self.k(y).view(n, -1, h * w), self.v(y).view(n, c, -1)
        near = (q.transpose(1, 2) @ k).softmax(-1)
        return self.o((v @ near.transpose(1, 2)).view(n, c, h, w) + y)


class Coordinates(Stem):
    """Channels that say where a pixel is."""

    def __init__(self) -> None:
        super().__init__()
        self.where = nn.Conv2d(18, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x)
        n, _, h, w = y.shape
        down = torch.linspace(-1, 1, h, dtype=y.dtype).view(1, 1, h, 1).expand(n, 1, h, w)
        along = torch.linspace(-1, 1, w, dtype=y.dtype).view(1, 1, 1, w).expand(n, 1, h, w)
        return self.o(self.where(torch.cat([y, down, along], 1)).relu())


class Branch(Stem):
    """Another computation on wide images."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x)
        if x.shape[-1] > 48:
            y = F.avg_pool2d(y, 2)
        return self.o(y).mean((2, 3))


class MeanByHand(Stem):
    def forward(self, x: Tensor) -> Tensor:
        y = self.o(self.features(x))
        return y.sum((2, 3)) / (y.numel() // y.shape[0] // y.shape[1]) + x.sum() / x.numel()


class FlattenLinear(Stem):
    """Fixed in height and width by its weight."""

    def __init__(self) -> None:
        super().__init__(8, 4)
        self.fc = nn.Linear(8 * 8 * 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.features(x), 1))


class AdaptivePool(Stem):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16 * 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.adaptive_max_pool2d(self.features(x), 2).flatten(1))


class PixelShuffle(Stem):
    def forward(self, x: Tensor) -> Tensor:
        y = F.pixel_unshuffle(self.features(x), 2)
        return self.o(F.pixel_shuffle(y.relu(), 2))


class UnfoldFold(Stem):
    def __init__(self) -> None:
        super().__init__(8)
        self.mix = nn.Linear(72, 72)

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x)
        parts = F.unfold(y, 3, padding=1).transpose(1, 2)
        parts = self.mix(parts).transpose(1, 2)
        return self.o(F.fold(parts, output_size=y.shape[-2:], kernel_size=3, padding=1))


class PadAndCrop(Stem):
    """To a multiple of eight by reflection, and back, as restoration networks do."""

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        x = F.pad(x, (0, (8 - w % 8) % 8, 0, (8 - h % 8) % 8), mode="reflect")
        y = F.interpolate(self.o(self.features(x)), scale_factor=2, mode="nearest")
        return y[:, :, :h, :w]


class SpatialTransformer(Stem):
    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x)
        theta = self.place(y.mean((2, 3))).view(-1, 2, 3)
        grid = F.affine_grid(theta, list(y.size()), align_corners=False)
        return self.o(F.grid_sample(y, grid, align_corners=False))


class BatchLoop(Stem):
    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x)
        return torch.stack([self.o(y[i]).mean((1, 2)) for i in range(len(y))])

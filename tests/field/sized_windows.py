"""Small transformers on images: positions that are interpolated, windows, and shifted windows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sized_attention import WIDTH, Block
from torch import Tensor, nn

WINDOW = 4


class Vit(nn.Module):
    """Positions of a grid of 8 x 8 patches, interpolated to any other, beside one for the class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, 4, 4)
        self.token, self.p = nn.Parameter(torch.randn(1, 1, WIDTH)), nn.Parameter(torch.randn(1, 65, WIDTH))
        self.block, self.norm, self.o = Block(), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5)

    def positions(self, h: int, w: int) -> Tensor:
        grid = self.p[:, 1:].reshape(1, 8, 8, WIDTH).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(h, w), mode="bilinear", align_corners=False)
        return torch.cat([self.p[:, :1], grid.permute(0, 2, 3, 1).reshape(1, h * w, WIDTH)], 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patch(x)
        b, _, h, w = y.shape
        y = torch.cat([self.token.expand(b, -1, -1), y.flatten(2).transpose(1, 2)], 1)
        return self.o(self.norm(self.block(y + self.positions(h, w)))[:, 0])


class VitFixed(nn.Module):
    """torchvision's way: another size than the one it was made for is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.p = nn.Conv2d(3, WIDTH, 4, 4), nn.Parameter(torch.randn(1, 64, WIDTH))
        self.block, self.o = Block(), nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        torch._assert(h == 32, f"Wrong image height! Expected 32 but got {h}!")
        torch._assert(w == 32, f"Wrong image width! Expected 32 but got {w}!")
        y = self.patch(x).reshape(n, WIDTH, (h // 4) * (w // 4)).permute(0, 2, 1)
        return self.o(self.block(y + self.p).mean(1))


def windows(x: Tensor) -> Tensor:
    b, h, w, c = x.shape
    x = x.view(b, h // WINDOW, WINDOW, w // WINDOW, WINDOW, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, WINDOW * WINDOW, c)


def joined(parts: Tensor, h: int, w: int) -> Tensor:
    b = parts.shape[0] // ((h // WINDOW) * (w // WINDOW))
    x = parts.view(b, h // WINDOW, w // WINDOW, WINDOW, WINDOW, -1)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, -1)


class PaddedWindows(nn.Module):
    """Attention within windows, after padding to whole ones."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.block, self.o = nn.Conv2d(3, WIDTH, 2, 2), Block(), nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patch(x).permute(0, 2, 3, 1)
        _, h, w, _ = y.shape
        down, along = (WINDOW - h % WINDOW) % WINDOW, (WINDOW - w % WINDOW) % WINDOW
        y = F.pad(y, (0, 0, 0, along, 0, down))
        y = joined(self.block(windows(y)), h + down, w + along)
        return self.o(y[:, :h, :w].contiguous())


class ShiftedWindows(nn.Module):
    """Swin's way: windows shifted by half, with a mask of what was not beside each other."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.block, self.o = nn.Conv2d(3, WIDTH, 2, 2), Block(), nn.Linear(WIDTH, 5)

    def mask(self, h: int, w: int) -> Tensor:
        regions, count = torch.zeros(1, h, w, 1), 0
        parts = (slice(0, -WINDOW), slice(-WINDOW, -WINDOW // 2), slice(-WINDOW // 2, None))
        for rows in parts:
            for columns in parts:
                regions[:, rows, columns] = count
                count += 1
        flat = windows(regions).squeeze(-1)
        apart = flat.unsqueeze(1) - flat.unsqueeze(2)
        return apart.masked_fill(apart != 0, -100.0).masked_fill(apart == 0, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patch(x).permute(0, 2, 3, 1)
        b, h, w, _ = y.shape
        y = torch.roll(y, shifts=(-WINDOW // 2, -WINDOW // 2), dims=(1, 2))
        mask = self.mask(h, w).repeat(b, 1, 1).unsqueeze(1)
        y = joined(self.block(windows(y), mask), h, w)
        return self.o(torch.roll(y, shifts=(WINDOW // 2, WINDOW // 2), dims=(1, 2)))

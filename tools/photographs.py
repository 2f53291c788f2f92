"""Crops of the photographs that travel in scikit-image and scikit-learn, as EfficientNet-Lite0 takes them."""

from __future__ import annotations

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor

from models_zoo import wheels

__all__ = ["crops"]

SIZE = 224


def crops(name: str, generator: torch.Generator, count: int = 16) -> Tensor:
    """Of a quarter to all of the shorter side, every other one mirrored: (count, 3, 224, 224)."""
    pixels = _pixels(name)
    found = []
    for place in range(count):
        share, y, x = torch.rand(3, generator=generator).tolist()
        side = int(min(pixels.shape[:2]) * (0.25 + 0.75 * share))
        top, left = int(y * (pixels.shape[0] - side)), int(x * (pixels.shape[1] - side))
        crop = pixels[top : top + side, left : left + side].permute(2, 0, 1)[None]
        crop = F.interpolate(crop, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)
        found.append(crop.flip(-1) if place % 2 else crop)
    return (torch.cat(found) - 127) / 128


def _pixels(name: str) -> Tensor:
    """(height, width, 3); grey ones three times."""
    if name in ("china", "flower"):
        photograph = wheels.module("scikit-learn", "sklearn.datasets").load_sample_image(f"{name}.jpg")
    else:
        photograph = getattr(wheels.module("scikit-image", "skimage.data"), name)()
    photograph = photograph[0] if isinstance(photograph, tuple) else photograph
    pixels = torch.tensor(numpy.array(photograph)).float()
    return pixels[..., None].expand(-1, -1, 3) if pixels.dim() == 2 else pixels[..., :3]

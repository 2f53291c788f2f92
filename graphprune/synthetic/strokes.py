"""Images of writing: a few smooth strokes on a plain ground.

Models of grey images often read writing, drawings or scans, which are flat but for thin lines; leaves and noise are
flat nowhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graphprune.synthetic.noise import unit

__all__ = ["strokes"]

MOST = 3  # strokes of an image
THINNEST, THICKEST = 0.02, 0.07  # half widths, of a side
MARGIN = 0.15  # at each side, where no stroke begins or ends
POINTS = 40  # of a curve
SOFT = 1.5  # ink fades from the middle of a stroke to so many half widths


def strokes(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """``[count, 1, height, width]`` of mean 0 and deviation 1; ink is darker or lighter than the ground.

    A stroke is a cubic Bézier curve between four points.
    """
    ys, xs = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    places = torch.stack([ys.flatten(), xs.flatten()], 1)
    along = torch.linspace(0, 1, POINTS)[:, None]
    weights = torch.cat(
        [(1 - along) ** 3, 3 * along * (1 - along) ** 2, 3 * along**2 * (1 - along), along**3], 1
    )
    images = []
    for _ in range(count):
        number = int(torch.randint(1, MOST + 1, (1,), generator=generator))
        ends = MARGIN + (1 - 2 * MARGIN) * torch.rand(number, 4, 2, generator=generator)
        thick = THINNEST + (THICKEST - THINNEST) * torch.rand(1, generator=generator)
        nearest = torch.cdist(places, (weights @ ends).flatten(0, 1)).amin(1)
        images.append((SOFT - nearest / thick).clamp(0, 1).reshape(1, height, width))
    sign = 1 - 2 * torch.randint(2, (count, 1, 1, 1), generator=generator)
    return sign * unit(torch.stack(images), (1, 2, 3))

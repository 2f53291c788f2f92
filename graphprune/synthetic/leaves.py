"""Images of dead leaves: textured discs and rectangles of all sizes that hide each other.

Such images have edges, occlusion, and the statistics of photographs at all scales (Lee, Mumford and Huang, "Occlusion
Models for Natural Images", 2001).
"""

from __future__ import annotations

from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

from graphprune.synthetic.noise import coloured, power_noise

__all__ = ["dead_leaves"]

LEAVES = 80
SMALLEST, LARGEST = 0.03, 0.5  # radii, of the longer side
REACH = 1.45  # of a leaf, in its radii
GROUND, TEXTURE, TINT = 0.3, 0.5, 0.4  # contrast of textures, and of colours, to that of grey values


class _Leaves(NamedTuple):
    """What is drawn for each leaf, ``[leaves]`` each but for the colours ``[leaves, channels]``."""

    radius: Tensor
    y: Tensor
    x: Tensor
    angle: Tensor
    is_disc: Tensor
    ratio: Tensor
    texture: Tensor
    contrast: Tensor
    colour: Tensor


def dead_leaves(count: int, channels: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """``[count, channels, height, width]``, about mean 0 and deviation 1."""
    textures = coloured(power_noise(2 * count, channels, (height, width), generator), generator)
    longer = max(height, width)
    ys, xs = torch.arange(height)[:, None] / longer, torch.arange(width)[None] / longer
    images = []
    for number in range(count):
        image = coloured(torch.randn(1, channels, 1, 1, generator=generator), generator)[0]
        image = image + GROUND * textures[number]
        leaves = _drawn(channels, height / longer, width / longer, count, generator)
        for place in range(LEAVES):
            leaf = _Leaves(*(part[place] for part in leaves))
            rows, columns = _reached(leaf.y, leaf, longer, height), _reached(leaf.x, leaf, longer, width)
            texture = leaf.contrast * textures[count + int(leaf.texture), :, rows, columns]
            part, covered = image[:, rows, columns], _covered(leaf, ys[rows], xs[:, columns])
            image[:, rows, columns] = torch.where(covered, leaf.colour[:, None, None] + texture, part)
        images.append(image)
    return torch.stack(images)


def _drawn(channels: int, height: float, width: float, textures: int, generator: torch.Generator) -> _Leaves:
    """Radii whose density falls with their third power, so that all scales look alike."""
    draws = torch.rand(8, LEAVES, generator=generator)
    radius = (SMALLEST**-2 + draws[0] * (LARGEST**-2 - SMALLEST**-2)) ** -0.5
    grey = torch.randn(LEAVES, 1, generator=generator)
    tint = TINT * torch.randn(LEAVES, channels, generator=generator) if channels > 1 else 0.0
    return _Leaves(
        radius,
        draws[1] * height,
        draws[2] * width,
        draws[3] * pi,
        draws[4] < 0.5,
        0.2 + 0.8 * draws[5],
        (draws[6] * textures).long(),
        TEXTURE * draws[7],
        (grey + tint).expand(LEAVES, channels),
    )


def _reached(middle: Tensor, leaf: _Leaves, longer: int, size: int) -> slice:
    """The rows, or the columns, that the leaf may cover: a corner is no farther than the root of two radii."""
    reach = REACH * float(leaf.radius)
    first, last = (int((float(middle) + way * reach) * longer) + way for way in (-1, 1))
    return slice(min(max(first, 0), size), min(max(last + 1, 0), size))


def _covered(leaf: _Leaves, ys: Tensor, xs: Tensor) -> Tensor:
    """``[height, width]``: where the leaf lies."""
    dy, dx = ys - leaf.y, xs - leaf.x
    if leaf.is_disc:
        return dx.square() + dy.square() < leaf.radius**2
    along = dx * leaf.angle.cos() + dy * leaf.angle.sin()
    across = dy * leaf.angle.cos() - dx * leaf.angle.sin()
    return (along.abs() < leaf.radius) & (across.abs() < leaf.radius * leaf.ratio)

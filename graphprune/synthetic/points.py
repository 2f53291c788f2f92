"""Clouds of points on the surfaces of boxes and ellipsoids, as scanners see things."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["clouds"]

SURFACES = 4  # of a cloud


def clouds(count: int, points: int, coordinates: int, generator: torch.Generator) -> Tensor:
    """``[count, coordinates, points]`` in the ball of radius 1 around the centre."""
    directions = torch.randn(count, points, coordinates, generator=generator)
    spheres = directions / directions.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    boxes = directions / directions.abs().amax(-1, keepdim=True).clamp_min(1e-6)
    sizes = 0.2 + torch.rand(count, SURFACES, coordinates, generator=generator)
    centres = torch.randn(count, SURFACES, coordinates, generator=generator)
    is_box = torch.rand(count, SURFACES, 1, generator=generator) < 0.5
    of = torch.randint(0, SURFACES, (count, points, 1), generator=generator)

    def own(values: Tensor) -> Tensor:
        return values.gather(1, of.expand(-1, -1, values.shape[-1]))

    found = own(centres) + own(sizes) * torch.where(own(is_box), boxes, spheres)
    found = found - found.mean(1, keepdim=True)
    return (found / found.norm(dim=-1).amax(1)[:, None, None]).transpose(1, 2)

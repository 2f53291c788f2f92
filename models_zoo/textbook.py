"""Two models small enough to follow by hand; no published weights."""

from __future__ import annotations

from torch import nn

from models_zoo.inputs import gaussian
from models_zoo.registry import Entry

__all__ = ["ENTRIES"]


def build_mlp() -> nn.Module:
    """A perceptron: (batch, 784) -> 300 hidden ReLU units -> (batch, 10) logits."""
    return nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 10)).eval()


def build_convnet() -> nn.Module:
    """One convolution, flattened into a classifier: (batch, 3, 32, 32) -> (batch, 10) logits."""
    convolution = nn.Conv2d(3, 64, kernel_size=3, padding=1)
    return nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(64 * 32 * 32, 10)).eval()


ENTRIES = (
    Entry(
        name="mlp",
        summary="perceptron 784-300-10, ReLU",
        licence="Apache-2.0",
        build=build_mlp,
        example_inputs=gaussian(784),
    ),
    Entry(
        name="convnet",
        summary="3x3 convolution 3-64, ReLU, flatten, linear to 10, on 32x32 images",
        licence="Apache-2.0",
        build=build_convnet,
        example_inputs=gaussian(3, 32, 32),
    ),
)

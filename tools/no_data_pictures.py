"""docs/assets/made-images.png: images that are made for models of the zoo, a row for each model.

python tools/no_data_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

import graphprune as gp
import models_zoo
from graphprune.ground.arguments import tensor_leaves
from graphprune.synthetic import make_inputs

MODELS = ("efficientnet_lite0", "digits_resnet", "mtcnn_rnet", "digits_cnn_mnist")
COLUMNS, SIDE, GAP = 8, 96, 6
PLACE = Path(__file__).parents[1] / "docs" / "assets" / "made-images.png"


def row(name: str) -> Tensor:
    """``[3, SIDE, COLUMNS * (SIDE + GAP)]``: images of one model, each between black and white."""
    graph = gp.trace(models_zoo.load(name), models_zoo.get(name).example_inputs(2))
    images = torch.cat([tensor_leaves(batch)[0] for batch in make_inputs(graph)])[:COLUMNS].float()
    low, high = images.flatten(1).quantile(torch.tensor([0.01, 0.99]), dim=1)[..., None, None, None]
    shown = ((images - low) / (high - low)).clamp(0, 1).expand(-1, 3, -1, -1)
    return torch.cat([*pad(interpolate(shown, (SIDE, SIDE)), (0, GAP, 0, GAP), value=1.0)], 2)


if __name__ == "__main__":
    rows = torch.cat([row(name) for name in MODELS], 1)
    Image.fromarray((rows * 255).byte().permute(1, 2, 0).numpy()).quantize(128).save(PLACE, optimize=True)

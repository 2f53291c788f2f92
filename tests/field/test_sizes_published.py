"""A published network of full size: one slim model and one ONNX file, right at three sizes of images."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from black_box import reproducible  # noqa: F401  (a fixture)
from sized_cases import Case, image
from sized_check import Slim, compare
from torch import nn


def fcn() -> nn.Module:
    from models_zoo import torchvision_ops

    torchvision_ops.ensure()
    from torchvision.models.segmentation import fcn_resnet50

    return fcn_resnet50(weights=None, weights_backbone=None, num_classes=5)


SIZES = {"b": (1, 2), "h": (64, 96, 65), "w": (64, 128, 80)}


@pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")
def test_a_segmentation_network(tmp_path: Path) -> None:
    case = Case(fcn, image, SIZES)
    slim = Slim(case, tmp_path)
    for form in ("model", "onnx"):
        outcomes = [(sizes, compare(slim, form, sizes)) for sizes in case.others()]
        assert not [(sizes, str(found)) for sizes, found in outcomes if found.kind != "right"], form

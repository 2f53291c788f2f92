"""The stand-in operators against scalar loops, and that a healthy install is left alone."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models_zoo import torchvision_ops
from models_zoo.torchvision_kernels import nms, roi_align

needs_torchvision = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed"
)


def loop_nms(boxes: Tensor, scores: Tensor, threshold: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i].item()):
        if all(overlap(boxes[i].tolist(), boxes[j].tolist()) <= threshold for j in kept):
            kept.append(i)
    return kept


def overlap(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def loop_roi_align(
    features: Tensor, roi: Tensor, scale: float, size: int, sampling_ratio: int, aligned: bool
) -> Tensor:
    """One region, scalar by scalar, as the C++ kernel goes."""
    batch, *corners = roi.tolist()
    x1, y1, x2, y2 = (corner * scale - (0.5 if aligned else 0.0) for corner in corners)
    width, height = x2 - x1, y2 - y1
    if not aligned:
        width, height = max(width, 1.0), max(height, 1.0)
    across = sampling_ratio if sampling_ratio > 0 else math.ceil(width / size)
    down = sampling_ratio if sampling_ratio > 0 else math.ceil(height / size)
    pooled = torch.zeros(features.shape[1], size, size, dtype=features.dtype)
    for row in range(size):
        for column in range(size):
            for i in range(down):
                for j in range(across):
                    y = y1 + (row + (i + 0.5) / down) * height / size
                    x = x1 + (column + (j + 0.5) / across) * width / size
                    pooled[:, row, column] += loop_bilinear(features[int(batch)], y, x)
    return pooled / max(down * across, 1)


def loop_bilinear(image: Tensor, y: float, x: float) -> Tensor:
    height, width = image.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return torch.zeros_like(image[:, 0, 0])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = image[:, top, left] * (1 - x + left) + image[:, top, right] * (x - left)
    lower = image[:, bottom, left] * (1 - x + left) + image[:, bottom, right] * (x - left)
    return upper * (1 - y + top) + lower * (y - top)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_nms_agrees_with_brute_force(threshold: float) -> None:
    generator = torch.Generator().manual_seed(0)
    corners = 20 * torch.rand(60, 2, generator=generator, dtype=torch.double)
    boxes = torch.cat([corners, corners + 10 * torch.rand(60, 2, generator=generator)], dim=1)
    scores = torch.randint(0, 20, (60,), generator=generator).double()  # with ties: the first row wins
    assert nms(boxes, scores, threshold).tolist() == loop_nms(boxes, scores, threshold)


def test_nms_of_nothing_and_of_boxes_without_area() -> None:
    assert nms(torch.empty(0, 4), torch.empty(0), 0.5).tolist() == []
    assert nms(torch.empty(0, 4), torch.empty(0), 0.5).dtype == torch.int64
    assert nms(torch.ones(2, 4), torch.tensor([0.1, 0.2]), 0.5).tolist() == [1, 0]


def test_roi_align_by_hand() -> None:
    features = torch.arange(16.0).view(1, 1, 4, 4)  # value = 4 y + x
    rois = torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]])
    # Bins of side 1, one sample in the middle of each: (0.5, 0.5), (0.5, 1.5), ... -> 4 y + x.
    assert roi_align(features, rois, 1.0, 2, 2, 1, False).flatten().tolist() == [2.5, 3.5, 6.5, 7.5]
    # Aligned: the same samples half a pixel up and left, at the pixels themselves.
    assert roi_align(features, rois, 1.0, 2, 2, 1, True).flatten().tolist() == [0.0, 1.0, 4.0, 5.0]
    # A plane is averaged to its value at the bin's middle, however many samples are taken.
    assert roi_align(features, 2 * rois, 0.5, 1, 1, 2, False).item() == 5.0


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [-1, 1, 2, 3])
def test_roi_align_agrees_with_scalar_loops(sampling_ratio: int, aligned: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 7, 9, generator=generator, dtype=torch.double)
    corners = 40 * torch.rand(12, 2, generator=generator, dtype=torch.double) - 8  # some reach outside
    sides = 24 * torch.rand(12, 2, generator=generator, dtype=torch.double) - 1  # some are turned inside out
    rois = torch.cat([torch.arange(12)[:, None] % 2, corners, corners + sides], dim=1)
    expected = [loop_roi_align(features, roi, 0.25, 2, sampling_ratio, aligned) for roi in rois]
    # Double precision; only the order of the sums differs.
    assert torch.allclose(
        roi_align(features, rois, 0.25, 2, 2, sampling_ratio, aligned), torch.stack(expected)
    )


def test_roi_align_of_many_and_of_no_regions() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 2, 8, 8, generator=generator)
    corners = 4 * torch.rand(150, 2, generator=generator)  # more than are done at once
    rois = torch.cat([torch.zeros(150, 1), corners, corners + 3], dim=1)
    together = roi_align(features, rois, 1.0, 2, 3, 2, True)
    one_by_one = torch.cat([roi_align(features, roi[None], 1.0, 2, 3, 2, True) for roi in rois])
    assert torch.equal(together, one_by_one)
    assert roi_align(features, rois[:0], 1.0, 2, 3, 2, True).shape == (0, 2, 2, 3)


@needs_torchvision
def test_ensure_is_idempotent_and_torchvision_imports() -> None:
    first = torchvision_ops.ensure()
    assert torchvision_ops.ensure() is first  # torch refuses to define an operator twice
    from torchvision import ops

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]])
    scores = torch.tensor([0.8, 0.9, 0.7])
    assert ops.nms(boxes, scores, 0.5).tolist() == [1, 2]
    assert ops.batched_nms(boxes, scores, torch.tensor([0, 1, 1]), 0.5).tolist() == [1, 0, 2]
    features = torch.arange(16.0).view(1, 1, 4, 4)
    pooled = ops.roi_align(features, [torch.tensor([[0.0, 0.0, 2.0, 2.0]])], 2, sampling_ratio=1)
    assert pooled.flatten().tolist() == [2.5, 3.5, 6.5, 7.5]


@needs_torchvision
def test_gradients_reach_the_features() -> None:
    torchvision_ops.ensure()
    from torchvision import ops

    features = torch.randn(1, 1, 5, 5, dtype=torch.double, requires_grad=True)
    rois = torch.tensor([[0.0, 0.5, 0.5, 4.0, 3.0]], dtype=torch.double)
    assert torch.autograd.gradcheck(lambda x: ops.roi_align(x, rois, 2, 1.0, 2, True), (features,))


@needs_torchvision
def test_both_operators_are_exported_whole() -> None:
    torchvision_ops.ensure()
    from torchvision import ops

    class Head(nn.Module):
        def forward(self, features: Tensor, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
            kept = ops.nms(boxes[:, 1:], scores, 0.5)
            return kept, ops.roi_align(features, boxes, 2, 1.0, 2)

    inputs = (torch.randn(1, 3, 8, 8), torch.tensor([[0.0, 0, 0, 4, 4], [0, 2, 2, 7, 7]]), torch.rand(2))
    program = torch.export.export(Head(), inputs)
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert {"torchvision.nms.default", "torchvision.roi_align.default"} <= targets
    for exported, eager in zip(program.module()(*inputs), Head()(*inputs), strict=True):
        assert torch.equal(exported, eager)


@needs_torchvision
def test_detector_runs() -> None:
    torchvision_ops.ensure()
    from torchvision.models import detection

    torch.manual_seed(0)
    model = detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, box_score_thresh=0.0
    ).eval()
    with torch.no_grad():
        found = model([torch.rand(3, 320, 320)])[0]
    assert 0 < len(found["boxes"]) <= 100
    assert found["boxes"].shape == (len(found["scores"]), 4)


@needs_torchvision
def test_healthy_install_is_left_untouched() -> None:
    """In a process of its own, where the compiled file seems to load and to bring its operators."""
    code = """
import sys, torch
def load_library(path):
    assert path.endswith(".so") or path.endswith(".pyd")
    global library
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
torch.ops.load_library = load_library
from models_zoo import torchvision_ops
print(torchvision_ops.ensure(), torchvision_ops.ensure())
print("torchvision" in sys.modules, hasattr(torch.ops.torchvision, "roi_align"))
"""
    root = Path(torchvision_ops.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.split() == ["False", "False", "False", "False"]

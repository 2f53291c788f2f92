"""The networks of torchvision's detectors: all that has weights, without what decides on the values of boxes.

network = DetectionNetwork(detector)
slim = graphprune.shrink(network, (images, boxes), macs=0.5).graft().detector   # a detector again
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from graphprune.ground.errors import InputError

__all__ = ["DetectionNetwork", "detection_inputs"]


class DetectionNetwork(nn.Module):
    """Backbone, neck and heads of a detector, which it holds as ``detector``.

    ``images`` are already resized and normalised, ``[batch, 3, height, width]``. Detectors of two stages take
    ``boxes`` ``[batch, n, 4]`` (left, top, right, bottom) where their own proposals would be; the others take none.
    All boxes are pooled from the finest level: levels share their channels, and that is all that matters here.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector: Any = detector

    def forward(self, images: Tensor, boxes: Tensor | None = None) -> dict[str, Any]:
        features = self.detector.backbone(images)
        if isinstance(features, Tensor):
            features = {"0": features}
        if boxes is None:
            if hasattr(self.detector, "rpn"):
                raise InputError(
                    "a detector of two stages takes boxes beside the images",
                    "let a batch be (images, boxes), as detection_inputs gives them",
                )
            return {"head": self.detector.head(list(features.values()))}
        logits, deltas = self.detector.rpn.head(list(features.values()))
        return {"proposals": (logits, deltas)} | self._branches(features["0"], boxes, images.shape[-1])

    def _branches(self, features: Tensor, boxes: Tensor, width: int) -> dict[str, Any]:
        heads = self.detector.roi_heads
        scale = features.shape[-1] / width
        results = {
            "boxes": heads.box_predictor(heads.box_head(_pooled(features, boxes, scale, heads.box_roi_pool)))
        }
        for kind in ("mask", "keypoint"):
            head = getattr(heads, f"{kind}_head", None)
            if head is not None:
                pooled = _pooled(features, boxes, scale, getattr(heads, f"{kind}_roi_pool"))
                results[kind] = getattr(heads, f"{kind}_predictor")(head(pooled))
        return results


def _pooled(features: Tensor, boxes: Tensor, scale: float, pool: Any) -> Tensor:
    from torchvision.ops import roi_align

    batch, count, _ = boxes.shape
    image = (
        torch.arange(batch, device=boxes.device, dtype=boxes.dtype).reshape(batch, 1, 1).expand(-1, count, -1)
    )
    rows = torch.cat([image, boxes], 2).flatten(0, 1)
    return roi_align(features, rows, tuple(pool.output_size), scale, pool.sampling_ratio)


def detection_inputs(detector: nn.Module, batch: int, size: int) -> tuple[Tensor, ...]:
    """Square images of ``size`` pixels, and three boxes in each for a detector of two stages."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, size, size, generator=generator)
    if not hasattr(detector, "rpn"):
        return (images,)
    boxes = torch.rand(batch, 3, 4, generator=generator) * size / 2
    boxes[..., 2:] += size / 2
    return images, boxes

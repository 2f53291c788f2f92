"""Plain PyTorch implementations of two of torchvision's operators, in a bounded amount of memory."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["nms", "roi_align"]

ROIS_AT_A_TIME = 64


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: (N, 4) as x1, y1, x2, y2.
        scores: (N,).
        iou_threshold: boxes that overlap a better one by more than this are dropped.

    Returns:
        (kept,) int64 row numbers, best first.
    """
    order = scores.argsort(descending=True, stable=True)
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        overlap = _iou(boxes[best], boxes[order])
        # Compared in double and negated as compiled torchvision does: boxes without an area (nan) are kept.
        order = order[~(overlap.double() > iou_threshold)]
    return torch.stack(kept) if kept else order


def _iou(box: Tensor, boxes: Tensor) -> Tensor:
    """Intersection over union of (4,) with each of (N, 4) -> (N,)."""
    corner = torch.maximum(box[:2], boxes[:, :2])
    sides = (torch.minimum(box[2:], boxes[:, 2:]) - corner).clamp(min=0)
    intersection = sides.prod(1)
    return intersection / ((box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - intersection)


def roi_align(
    features: Tensor, rois: Tensor, scale: float, height: int, width: int, sampling_ratio: int, aligned: bool
) -> Tensor:
    """Pool regions to one size by averaging bilinear samples (He et al., "Mask R-CNN", ICCV 2017, section 3).

    Args:
        features: (N, C, H, W).
        rois: (K, 5): the row of `features`, then x1, y1, x2, y2 in image coordinates.
        scale: from image to feature coordinates.
        height, width: of the pooled map.
        sampling_ratio: samples per bin and direction; 0 or less: one per feature pixel, rounded up.
        aligned: whether a pixel's centre, not its corner, has its integer coordinate.

    Returns:
        (K, C, height, width).
    """
    if not len(rois):
        return features.new_zeros(0, features.shape[1], height, width)
    corners = rois[:, 1:] * scale - (0.5 if aligned else 0.0)
    sides = corners[:, 2:] - corners[:, :2]
    if not aligned:
        sides = sides.clamp(min=1)
    bins = sides / sides.new_tensor([width, height])
    grids = torch.full_like(bins, sampling_ratio) if sampling_ratio > 0 else bins.ceil().clamp(min=0)
    pooled = features.new_zeros(len(rois), features.shape[1], height, width)
    # Regions with equally many samples are done together, and not too many at once.
    for grid in grids.unique(dim=0):
        for rows in (grids == grid).all(1).nonzero()[:, 0].split(ROIS_AT_A_TIME):
            x = _positions(corners[rows, 0], bins[rows, 0], width, int(grid[0]))
            y = _positions(corners[rows, 1], bins[rows, 1], height, int(grid[1]))
            samples = _bilinear(features, rois[rows, 0].long(), y, x)
            if samples.numel():  # a region without an area has no samples, and stays zero
                binned = samples.view(len(rows), height, int(grid[1]), width, int(grid[0]), -1)
                pooled[rows] = binned.mean((2, 4)).permute(0, 3, 1, 2)
    return pooled


def _positions(start: Tensor, bin_size: Tensor, bins: int, samples: int) -> Tensor:
    """(K,) starts and bin sizes -> (K, bins * samples) coordinates, evenly spread within each bin."""
    steps = (torch.arange(bins * samples, device=start.device) + 0.5) / max(samples, 1)
    return start[:, None] + bin_size[:, None] * steps.to(start.dtype)


def _bilinear(features: Tensor, batch: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Sample (N, C, H, W) at rows (K, Y) by columns (K, X) -> (K, Y, X, C); zero outside the map."""
    (y_low, y_high, y_weights), (x_low, x_high, x_weights) = (
        _neighbours(y, features.shape[2]),
        _neighbours(x, features.shape[3]),
    )
    last = features.permute(0, 2, 3, 1)
    total = features.new_zeros(())
    for rows, row_weight in zip((y_low, y_high), y_weights, strict=True):
        for columns, column_weight in zip((x_low, x_high), x_weights, strict=True):
            values = last[batch[:, None, None], rows[:, :, None], columns[:, None, :]]
            total = total + values * (row_weight[:, :, None] * column_weight[:, None, :])[..., None]
    return total


def _neighbours(at: Tensor, size: int) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """The pixels before and after each coordinate and their weights, which are zero a pixel outside."""
    inside = (at >= -1) & (at <= size)
    at = at.clamp(0, size - 1)
    low = at.floor()
    after = torch.where(inside, at - low, 0)
    before = torch.where(inside, 1 - (at - low), 0)
    return low.long(), (low + 1).clamp(max=size - 1).long(), (before, after)

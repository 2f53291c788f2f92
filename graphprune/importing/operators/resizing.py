"""Operators that sample a tensor between its elements.

PyTorch's own resampling runs where it is the same; elsewhere each dimension is read at the elements beside each place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from graphprune.capture.remembered import plain
from graphprune.importing.node import Node, Operator

__all__ = ["OPERATORS"]


@dataclass(frozen=True)
class Stretch:
    """How one dimension is resized.

    Args:
        by_size: whether the file says the new size, and not the scale.
        roi: the first and last place, as shares of the size.
    """

    axis: int
    old: int
    new: int
    scale: float
    by_size: bool
    roi: tuple[float, float] = (0.0, 1.0)

    @property
    def is_whole(self) -> bool:
        """Whether the dimension stays as it is; of sizes only batch and channels are asked, which are given as read."""
        same = self.axis < 2 and plain(self.old) == plain(self.new) if self.by_size else self.scale == 1.0
        return same and self.roi == (0.0, 1.0)


def _resize(node: Node, x: Tensor, *given: Any) -> Tensor:
    """The second input are the scales before opset 11, regions of interest since."""
    roi, scales, sizes = (*((None,) if node.opset < 11 else ()), *given, None, None, None)[:3]
    if node["antialias"]:
        raise node.refusal("it resizes with antialias")
    axes = [axis % x.dim() for axis in node["axes"] or range(x.dim())]
    stretches = _to_sizes(node, x, axes, sizes) if sizes else _by_scales(node, x, axes, scales)
    if roi and node["coordinate_transformation_mode"] == "tf_crop_and_resize":
        regions = zip(roi, roi[len(axes) :], strict=False)
        stretches = [replace(item, roi=region) for item, region in zip(stretches, regions, strict=True)]
    return _stretched(node, x, [item for item in stretches if not item.is_whole])


def _upsample(node: Node, x: Tensor, scales: Sequence[float] | None = None) -> Tensor:
    """The scales are an attribute before opset 9."""
    stretches = _by_scales(node, x, range(x.dim()), node["scales"] if scales is None else scales)
    return _stretched(node, x, [item for item in stretches if not item.is_whole])


def _by_scales(node: Node, x: Tensor, axes: Sequence[int], scales: Sequence[float]) -> list[Stretch]:
    found = []
    for axis, scale in zip(axes, scales, strict=True):
        old = x.shape[axis]
        new = old * int(scale) if scale == int(scale) else math.floor(old * scale)
        if node["coordinate_transformation_mode"] == "align_corners" and plain(new) != plain(old) * scale:
            raise node.refusal("it aligns corners, and its scale gives no whole size: runtimes differ there")
        found.append(Stretch(axis, old, new, scale, False))
    return found


def _to_sizes(node: Node, x: Tensor, axes: Sequence[int], sizes: Sequence[int]) -> list[Stretch]:
    olds, policy = [x.shape[axis] for axis in axes], node["keep_aspect_ratio_policy"] or "stretch"
    if policy == "stretch":
        return [Stretch(*item, item[2] / item[1], True) for item in zip(axes, olds, sizes, strict=True)]
    choose = min if policy == "not_larger" else max
    scale = choose(new / old for new, old in zip(sizes, olds, strict=True))
    return [
        Stretch(axis, old, math.floor(scale * old + 0.5), scale, True)
        for axis, old in zip(axes, olds, strict=True)
    ]


def _stretched(node: Node, x: Tensor, stretches: Sequence[Stretch]) -> Tensor:
    if not stretches:
        return x
    kind = _own(node, x, stretches)
    if kind is None:
        for item in stretches:
            x = _sampled(node, x, item, node["mode"])
        return x
    way, by_axis = node["coordinate_transformation_mode"], {item.axis: item for item in stretches}
    options: dict[str, Any] = {"mode": kind}
    if kind != "nearest":
        options["align_corners"] = way == "align_corners"
    spatial = range(2, x.dim())
    if stretches[0].by_size:
        return F.interpolate(
            x, [by_axis[dim].new if dim in by_axis else x.shape[dim] for dim in spatial], **options
        )
    factors = [by_axis[dim].scale if dim in by_axis else 1.0 for dim in spatial]
    return F.interpolate(x, scale_factor=factors, recompute_scale_factor=False, **options)


def _own(node: Node, x: Tensor, stretches: Sequence[Stretch]) -> str | None:
    """What torch calls the same resampling; None where it has none."""
    rank = x.dim() - 2
    if any(item.axis < 2 for item in stretches) or not 1 <= rank <= 3 or not x.is_floating_point():
        return None
    way = node["coordinate_transformation_mode"] or "asymmetric"
    match node["mode"]:
        case "nearest":
            rounding = node["nearest_mode"] or "floor"
            whole = all(not item.by_size and item.scale == int(item.scale) for item in stretches)
            middle = way in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round_prefer")
            return "nearest" if (way, rounding) == ("asymmetric", "floor") or (whole and middle) else None
        case "linear" | "bilinear" | "trilinear" if way in (
            "half_pixel",
            "pytorch_half_pixel",
            "align_corners",
        ):
            single = any(plain(item.new) == 1 for item in stretches)
            return None if single else ("linear", "bilinear", "trilinear")[rank - 1]
        case "cubic" if way in ("half_pixel", "align_corners") and rank == 2:
            usual = node["cubic_coeff_a"] == -0.75 and not node["exclude_outside"]
            return "bicubic" if usual and len(stretches) == 2 else None
    return None


def _places(node: Node, item: Stretch) -> Tensor:
    """Where in the old dimension each new element is."""
    at = torch.arange(item.new, dtype=torch.float32)
    way, last = node["coordinate_transformation_mode"] or "asymmetric", item.old - 1
    half = (at + 0.5) / item.scale - 0.5
    match way:
        case "half_pixel":
            return half
        case "pytorch_half_pixel":
            return half if item.new > 1 else at * 0
        case "half_pixel_symmetric":
            middle = item.old / 2
            return half + middle * (1 - item.new / (item.scale * item.old))
        case "asymmetric":
            return at / item.scale
        case "align_corners":
            return at * (last / (item.new - 1)) if item.new > 1 else at * 0
        case "tf_crop_and_resize":
            first, end = item.roi
            if item.new == 1:
                return at + 0.5 * (first + end) * last
            return first * last + at * ((end - first) * last / (item.new - 1))
    raise node.refusal(f"there is no coordinate_transformation_mode {way!r}")


def _nearest(node: Node, at: Tensor) -> Tensor:
    match node["nearest_mode"] or "floor":
        case "floor":
            return torch.floor(at)
        case "ceil":
            return torch.ceil(at)
        case "round_prefer_ceil":
            return torch.floor(at + 0.5)
        case _:
            return torch.ceil(at - 0.5)


def _cubic(distance: Tensor, a: float) -> Tensor:
    d = distance.abs()
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


def _sampled(node: Node, x: Tensor, item: Stretch, mode: str) -> Tensor:
    """One dimension read at the elements beside each place, weighted."""
    at = _places(node, item)
    beside = [0] if mode == "nearest" else [0, 1] if mode.endswith("linear") else [-1, 0, 1, 2]
    floor = _nearest(node, at) if mode == "nearest" else torch.floor(at)
    taps, weights = [floor + step for step in beside], [torch.ones_like(at)]
    if mode.endswith("linear"):
        weights = [1 - (at - floor), at - floor]
    elif mode == "cubic":
        weights = [_cubic(at - tap, node["cubic_coeff_a"]) for tap in taps]
    last = item.old - 1
    if node["exclude_outside"]:
        weights = [weight * ((tap >= 0) & (tap <= last)) for weight, tap in zip(weights, taps, strict=True)]
        weights = [weight / sum(weights) for weight in weights]
    shape = [-1 if axis == item.axis else 1 for axis in range(x.dim())]
    parts = []
    for tap, weight in zip(taps, weights, strict=True):
        read = x.index_select(item.axis, tap.clamp(0, last).to(torch.int64))
        parts.append(read if mode == "nearest" else read * weight.reshape(shape))
    result: Tensor = sum(parts[1:], parts[0])
    if node["coordinate_transformation_mode"] != "tf_crop_and_resize":
        return result if result.dtype == x.dtype else result.to(x.dtype)
    inside = ((at >= 0) & (at <= last)).reshape(shape)
    return torch.where(inside, result, torch.full_like(result, node["extrapolation_value"]))


_KINDS = {"linear": "bilinear", "cubic": "bicubic"}


def _grid_sample(node: Node, x: Tensor, grid: Tensor) -> Tensor:
    mode = _KINDS.get(node["mode"], node["mode"])
    if mode == "bicubic" and x.dim() != 4:
        raise node.refusal("it samples a volume with mode cubic")
    return F.grid_sample(x, grid, mode, node["padding_mode"], bool(node["align_corners"]))


OPERATORS = {
    "AffineGrid": Operator(
        lambda node, theta, size: F.affine_grid(theta, size, bool(node["align_corners"])), counts=(1,)
    ),
    "GridSample": Operator(_grid_sample),
    "Resize": Operator(_resize, counts=(1, 2, 3)),
    "Upsample": Operator(_upsample, counts=(1,)),
}

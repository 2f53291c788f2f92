"""Make torchvision importable, and its detectors runnable, beside a torch that its binary is not for.

torchvision's wheel is compiled for CUDA. Beside a CPU torch its compiled operators cannot load, and the
import fails because the schemas it refers to do not exist. `ensure` then defines those schemas with plain
PyTorch implementations. An install whose operators load is left untouched.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
from typing import Any

import torch
from torch import Tensor

from models_zoo.torchvision_kernels import nms, roi_align

__all__ = ["ensure"]

NMS = "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
QNMS = "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
ROI_ALIGN = (
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width,"
    " int sampling_ratio, bool aligned) -> Tensor"
)

# A Library takes its definitions with it when it is collected.
_library: torch.library.Library | None = None


def ensure() -> bool:
    """Step in where torchvision is installed and its compiled operators cannot load; any number of calls.

    Call it before the first import of torchvision, or of a package that imports it.

    Returns:
        Whether the operators in use are the plain PyTorch ones of this module.
    """
    global _library
    if _library is not None:
        return True
    if importlib.util.find_spec("torchvision") is None or _operators_exist() or _compiled_operators_load():
        return False
    _library = _define()
    _announce()
    return True


def _operators_exist() -> bool:
    return hasattr(torch.ops.torchvision, "nms")


def _compiled_operators_load() -> bool:
    """Whether torchvision's compiled file loads; found as torchvision finds it, without importing it."""
    spec = importlib.util.find_spec("torchvision")
    suffixes = (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES)
    for folder in (spec and spec.submodule_search_locations) or ():
        compiled = importlib.machinery.FileFinder(folder, suffixes).find_spec("_C")
        if compiled is None or compiled.origin is None:
            continue
        try:
            torch.ops.load_library(compiled.origin)
        except OSError:
            continue
        return _operators_exist()
    return False


def _define() -> torch.library.Library:
    """The schemas, their kernels, and for roi_align shapes and gradients.

    torchvision itself registers the shapes of nms and qnms when it is imported. qnms is for quantized boxes:
    the import asks for its schema alone, and there is no kernel.
    """
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in (NMS, QNMS, ROI_ALIGN):
        library.define(schema)
    for device in ("CPU", "CUDA"):
        library.impl("nms", nms, device)
        library.impl("roi_align", roi_align, device)
    torch.library.register_fake("torchvision::roi_align", _roi_align_shape, lib=library)
    torch.library.register_autograd(
        "torchvision::roi_align", _roi_align_backward, setup_context=_roi_align_save, lib=library
    )
    return library


def _roi_align_shape(
    features: Tensor, rois: Tensor, scale: float, height: int, width: int, sampling_ratio: int, aligned: bool
) -> Tensor:
    return features.new_empty(rois.shape[0], features.shape[1], height, width)


def _roi_align_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, rois, *ctx.options = inputs
    ctx.save_for_backward(features, rois)


def _roi_align_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients reach the features only, as with the compiled operator."""
    features, rois = ctx.saved_tensors
    with torch.enable_grad():
        features = features.detach().requires_grad_()
        pooled = roi_align(features, rois, *ctx.options)
    return (*torch.autograd.grad(pooled, features, gradient), *[None] * 6)


def _announce() -> None:
    """Tell torchvision's nms and roi_align that their operators are there.

    Each looks before it calls. Only these two modules are told, so that the other operators keep
    torchvision's own clear error.
    """
    importlib.import_module("torchvision")
    for name in ("torchvision.ops.boxes", "torchvision.ops.roi_align"):
        module = importlib.import_module(name)
        module._assert_has_ops = lambda: None  # type: ignore[attr-defined]
        module._has_ops = lambda: True  # type: ignore[attr-defined]

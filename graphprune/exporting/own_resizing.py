"""Images of a size that varies: modes of ``interpolate`` that torch's library lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from graphprune.exporting.own_call import Call, Row, numbers

__all__ = ["RESIZING"]


def _resized(**mode: str) -> Row:
    """To a size that is given; where a factor is, which says where pixels lie, torch takes the operator apart."""

    def row(call: Call, *args: Any, **kwargs: Any) -> Any:
        given, op = call.bound(args, kwargs), call.op
        sizes, corners = given["output_size"], given.get("align_corners", False)
        if sizes is None or any(scale is not None for name, scale in given.items() if "scale" in name):
            return None
        x = given["input"] if "input" in given else given["self"]
        each = [op.Reshape(size, op.Constant(value_ints=[1])) for size in numbers(call, *sizes)]
        whole = op.Concat(op.Shape(x, start=0, end=2), *each, axis=0)
        where = "align_corners" if corners else "half_pixel"
        return op.Resize(x, None, None, whole, coordinate_transformation_mode=where, **mode)

    return row


_EXACT = _resized(mode="nearest", nearest_mode="round_prefer_ceil")  # the pixel whose middle is nearest
_ATEN = torch.ops.aten
RESIZING: Mapping[Any, Row] = {
    **{getattr(_ATEN.upsample_linear1d, name): _resized(mode="linear") for name in ("vec", "default")},
    **{
        getattr(getattr(_ATEN, f"_upsample_nearest_exact{n}d"), name): _EXACT
        for n in (1, 2, 3)
        for name in ("vec", "default")
    },
}

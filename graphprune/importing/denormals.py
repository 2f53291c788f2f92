"""Numbers below the smallest normal one, with which processors compute slowly: some files hold thousands of them.

They are what training makes of weights that fade. As zeros they change no output that anyone could see, and a file may
run several times as fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphprune.importing.nested import places

__all__ = ["denormals_of", "flushed"]


def denormals_of(model: Any) -> dict[str, int]:
    """Constant of an onnx.ModelProto → how many of its float32 numbers are denormal, where any are."""
    counts = {name: int(_denormal(array).sum()) for name, (_, array) in _floats(model).items()}
    return {name: count for name, count in counts.items() if count}


def flushed(model: Any) -> Any:
    """The file with zeros in the place of denormal numbers; itself if there are none."""
    import onnx

    if not denormals_of(model):
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor, array in _floats(made).values():
        small = _denormal(array)
        if small.any():
            zeros = np.where(small, np.float32(0), array)
            tensor.CopyFrom(onnx.numpy_helper.from_array(zeros, tensor.name))
    return made


def _floats(model: Any) -> Mapping[str, tuple[Any, Any]]:
    """Every constant of float32 with its numbers."""
    from onnx import TensorProto, numpy_helper

    found = {}
    for name, place in places(model.graph).items():
        tensor = place if isinstance(place, TensorProto) else place.t
        if tensor.data_type == TensorProto.FLOAT:
            found[name] = tensor, numpy_helper.to_array(tensor)
    return found


def _denormal(array: Any) -> Any:
    return (array != 0) & (np.abs(array) < np.finfo(np.float32).tiny)

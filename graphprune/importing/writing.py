"""Writes ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphprune.ground.files import writing
from graphprune.importing.nested import places

__all__ = ["is_large", "write_model"]

MOST = 2**31 - 2**20  # bytes of one file, by protobuf's limit; weights of more lie beside it


def is_large(model: Any) -> bool:
    """Whether the weights of an onnx.ModelProto are too many for one message, which cannot say its own size then."""
    return sum(map(_bytes, places(model.graph).values())) >= MOST


def _bytes(place: Any) -> int:
    tensor = place if hasattr(place, "raw_data") else place.t
    return len(tensor.raw_data) + 4 * len(tensor.float_data) + 8 * len(tensor.int64_data)


def write_model(model: Any, path: Path) -> None:
    """Writes an onnx.ModelProto; its weights into a file beside it where they are too many for one.

    Raises:
        InputError: the file cannot be written.
    """
    import onnx

    with writing(path):
        if not is_large(model):
            path.write_bytes(model.SerializeToString())
        else:
            made = onnx.ModelProto()
            made.CopyFrom(model)  # which loses its weights when it is written so
            onnx.save(made, path, save_as_external_data=True, location=f"{path.name}.data")

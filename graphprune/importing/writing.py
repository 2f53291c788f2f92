"""Writes ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphprune.ground.files import writing

__all__ = ["write_model"]

MOST = 2**31 - 2**20  # bytes of one file, by protobuf's limit; weights of more lie beside it


def write_model(model: Any, path: Path) -> None:
    """Writes an onnx.ModelProto; its weights into a file beside it where they are too many for one.

    Raises:
        InputError: the file cannot be written.
    """
    import onnx

    with writing(path):
        if model.ByteSize() < MOST:
            path.write_bytes(model.SerializeToString())
        else:
            onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data")

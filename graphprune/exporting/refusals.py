"""What the ways to ONNX share: what to do where a model cannot go them, and silence on the way."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

from torch import fx

from graphprune.capture.describe import source_line
from graphprune.capture.operators import module_path
from graphprune.ground.unlogged import unlogged

__all__ = ["NO_OPERATOR", "UNKNOWN", "quiet", "where"]

NO_OPERATOR = "replace that operation by one that ONNX has, or leave ONNX out: save(..., onnx=False)"
UNKNOWN = "if the model runs in PyTorch on the same input, leave ONNX out and report the model"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence torch's exporter and its libraries, which print, warn and log about every model."""
    with unlogged(), contextlib.redirect_stdout(io.StringIO()):
        yield


def where(node: fx.Node) -> str:
    """The node, its operator, its layer and the user's line, for a message."""
    path, line = module_path(node), source_line(node)
    layer = f" of layer {path!r}" if path else ""
    return f", at node {node.name} ({node.target}){layer}{f' ({line})' if line else ''}"

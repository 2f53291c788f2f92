"""onnxsim's structured pruning beside ours: the weights that are left when three tenths of all channels are to go."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import graphprune as gp
from graphprune.axes.dependency import DependencyGraph
from graphprune.ground.errors import GraphpruneError, first_line
from graphprune.importing.running import values_of
from graphprune.results.cut_file import cut_file
from graphprune.slicing.tensors import arrays_of

__all__ = ["beside_onnxsim"]

RATIO = 0.3


def beside_onnxsim(path: Path, graph: DependencyGraph, feed: Mapping[str, Any]) -> dict[str, Any]:
    """The shares of weights that both leave of a file; a text where a result does not run. Nothing without onnxsim."""
    if find_spec("onnxsim") is None:
        return {}
    from onnxsim.pruning import apply_structured_pruning

    def ours() -> Any:
        result = gp.shrink(graph, ratio=RATIO, align=1, cut_tables=True)
        return cut_file(graph, result.plan, result.model)

    def theirs() -> Any:
        return apply_structured_pruning(onnx.load(path), sparsity=RATIO)

    whole = _weights(onnx.load(path))
    found = {}
    for name, make in (("ours", ours), ("onnxsim", theirs)):
        try:
            model = make()
            values_of(model, feed, [item.name for item in model.graph.output], "its file")
            found[name] = round(_weights(model) / whole, 4)
        except GraphpruneError as error:
            found[name] = error.message[:80]
        except Exception as error:  # whatever a peer raises
            found[name] = f"{type(error).__name__}: {first_line(error, 60)}"
    return found


def _weights(model: Any) -> int:
    """Numbers in all constants of floats and of bytes."""
    arrays = arrays_of(model).values()
    kinds = ("float32", "float16", "bfloat16", "int8", "uint8")
    return sum(array.size for array in arrays if np.asarray(array).dtype.name in kinds)

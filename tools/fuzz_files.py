"""Files of a slim model: written, loaded again, and run in onnxruntime, against the slim model in PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy
import torch
from fuzz_model import Model
from torch import Tensor
from torch.utils._pytree import tree_leaves

import graphprune as gp

__all__ = ["check_files"]

TOLERANCE = 1e-3  # of the largest value, as `save` asks: onnxruntime reorders float32 arithmetic


def check_files(model: Model, result: gp.Result, flags: dict[str, str]) -> None:
    """Saves and loads a result; what is wrong becomes a flag."""
    inputs = model.example(seed=4)
    with torch.no_grad():
        expected = tree_leaves(result.model(*[item.clone() for item in inputs]))
    with TemporaryDirectory() as folder:
        path = Path(folder, "slim")
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                result.save(path, latency=False)
        except Exception as error:
            flags["not saved"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"[:300]
            return
        try:
            with torch.no_grad():
                loaded = tree_leaves(gp.load(path)(*[item.clone() for item in inputs]))
            flags |= _differ("not loaded", expected, loaded, 1e-6)
        except Exception as error:
            flags["not loaded"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"[:300]
        if not (path / "model.onnx").exists():
            flags["not saved"] = "; ".join(str(warning.message) for warning in said)[:300]
            return
        try:
            flags.update(_differ("onnx differs", expected, _onnx(path / "model.onnx", inputs), TOLERANCE))
        except Exception as error:
            flags["onnx differs"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"[:300]


def _onnx(path: Path, inputs: Sequence[Tensor]) -> list[Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    given: dict[str, Any] = {name: item.numpy() for name, item in zip(names, inputs, strict=True)}
    return [torch.from_numpy(numpy.asarray(item)) for item in session.run(None, given)]


def _differ(
    kind: str, expected: Sequence[Tensor], given: Sequence[Tensor], tolerance: float
) -> dict[str, str]:
    for place, (one, other) in enumerate(zip(expected, given, strict=True)):
        error, scale = float((one - other).abs().max()), float(one.abs().max())
        if one.shape != other.shape or not error <= tolerance * max(scale, 1e-3):
            return {kind: f"output {place}: {error:.1e} of {scale:.1e}"}
    return {}

"""A slim model at other batch sizes than that of its capture, in PyTorch and as ONNX, against the zeroed original."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from black_box import TOLERANCE, difference, fresh, leaves, randomise, zeroed
from torch import nn

import graphprune as gp
from graphprune.exporting.runtime import runner, session

ONNX_TOLERANCE = 1e-4  # relative to the largest output; onnxruntime fuses and reorders float32 arithmetic
BATCHES = (1, 3, 5)


def right_at_batches(model: nn.Module, inputs: Any, *, ratio: float = 0.4) -> gp.Result:
    """Shrinks ``model`` and compares `result.model` at each of `BATCHES`; nothing of its batch is fixed."""
    randomise(model)
    result = gp.shrink(model, inputs, ratio=ratio)
    assert result.graph.program.dynamic_batch, result.graph.program.notes
    assert result.verdict.passed
    for args, kwargs, expected in _cases(model, result, inputs):
        with torch.no_grad():
            assert difference(expected, result.model(*args, **kwargs)) < TOLERANCE
    return result


def right_in_onnx(model: nn.Module, inputs: Any, result: gp.Result, folder: Path) -> None:
    """The same for ``model.onnx``."""
    result.save(folder, latency=False)
    loaded = session(folder / "model.onnx")
    for args, kwargs, expected in _cases(model, result, inputs):
        given = [torch.as_tensor(array) for array in runner(loaded, args, kwargs)()]
        assert difference(leaves(expected), given) < ONNX_TOLERANCE


def _cases(model: nn.Module, result: gp.Result, inputs: Any) -> Iterator[tuple[Any, Any, Any]]:
    """``(args, kwargs, what the zeroed original gives)`` at each batch size."""
    reference = zeroed(model, result.plan.kept)
    for batch in BATCHES:
        args, kwargs = fresh(inputs, seed=batch, batch=batch)
        with torch.no_grad():
            yield args, kwargs, reference(*args, **kwargs)

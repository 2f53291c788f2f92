"""Running a model over data, for the `evaluate` functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["accuracy", "predict"]


def predict(model: Callable[..., Any], inputs: Tensor, output: int | None = None, batch: int = 64) -> Tensor:
    """The model's outputs for `inputs`, concatenated along the batch.

    Args:
        model: called on (batch, ...) slices; may return a tensor or array, or a sequence of them.
        inputs: (N, ...).
        output: which item of a sequence to keep; None: the model returns one tensor.
        batch: largest number of rows per call, which bounds memory.

    Returns:
        (N, ...) float tensor on the CPU.
    """
    pieces = []
    with torch.no_grad():
        for rows in inputs.split(batch):
            result = model(rows)
            pieces.append(torch.as_tensor(result if output is None else result[output]).cpu())
    return torch.cat(pieces)


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """Share of rows whose largest score, over (N, classes), is at the label, over (N,)."""
    return (scores.argmax(1) == labels).double().mean().item()

"""Model → `Program`."""

from __future__ import annotations

from graphprune.capture.capture import capture
from graphprune.capture.execution import run
from graphprune.capture.inputs import normalise_inputs
from graphprune.capture.operations import Operation, Value
from graphprune.capture.program import Program, Stored
from graphprune.ground.arguments import tensor_leaves

__all__ = [
    "Operation",
    "Program",
    "Stored",
    "Value",
    "capture",
    "normalise_inputs",
    "run",
    "tensor_leaves",
]

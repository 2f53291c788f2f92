"""Example inputs: the same seeded tensors at each call."""

from __future__ import annotations

from typing import Any

import torch

from models_zoo.registry import ExampleInputs

__all__ = ["gaussian"]


def gaussian(*shape: int) -> ExampleInputs:
    """Example inputs of one standard-normal float32 tensor, shaped (batch, *shape)."""

    def example_inputs(batch: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        generator = torch.Generator().manual_seed(0)
        return (torch.randn(batch, *shape, generator=generator),), {}

    return example_inputs

"""The prime that stands for the batch size while a model is traced."""

from __future__ import annotations

import sympy
import torch

from graphprune.capture.inputs import Inputs
from graphprune.ground.arguments import tensor_leaves

__all__ = ["choose_prime"]

_FIRST_PRIME = 1009  # memory for inputs of so many examples is asked for, though never touched


def choose_prime(model: torch.nn.Module, inputs: Inputs) -> int:
    """A prime that divides no size of the model's tensors, nor of the inputs."""
    tensors = (*model.parameters(), *model.buffers(), *tensor_leaves(inputs))
    sizes = {size for tensor in tensors for size in tensor.shape}
    prime = _FIRST_PRIME
    while any(size and size % prime == 0 for size in sizes):
        prime = int(sympy.nextprime(prime))
    return prime

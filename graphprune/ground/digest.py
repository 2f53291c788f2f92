"""A digest of a model's tensors: whether the original made here is the one that was shrunk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["digest"]


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        # reshaped first, since a view of another dtype needs a dimension
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()

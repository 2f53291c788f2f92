"""The part of a tensor that is kept."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

__all__ = ["narrowed"]


def narrowed(tensor: Tensor, kept: Mapping[int, Tensor]) -> Tensor:
    """``tensor`` at the ``kept`` indices of each dimension; dimensions that are not listed stay whole.

    Args:
        kept: dimension → indices ``[n]``, on any device.
    """
    for dim, indices in kept.items():
        tensor = tensor.index_select(dim, indices.to(tensor.device))
    return tensor

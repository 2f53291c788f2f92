"""Operators that read and write tensors at positions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphprune.importing.node import Node, Operator, free

__all__ = ["OPERATORS"]


def _positions(indices: Tensor, size: int) -> Tensor:
    """Negative ones count from the end."""
    indices = indices.to(torch.int64)
    return torch.where(indices < 0, indices + size, indices)


def _gather(node: Node, x: Tensor, indices: Any) -> Tensor:
    """At one position, at a vector of them, or at a tensor of them as in a table of embeddings."""
    axis = node["axis"] % x.dim()
    if isinstance(indices, int):
        return x.select(axis, indices)
    places = _positions(indices, x.shape[axis])
    if axis == 0 and x.dim() == 2 and x.is_floating_point():
        return torch.nn.functional.embedding(places, x)
    at = (*(slice(None),) * axis, places)
    return x[at]


def _gather_many(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    """At tuples of positions, which stand in the last dimension of ``indices``."""
    batch, count = node["batch_dims"] or 0, indices.shape[-1]
    grid = [_along(x.shape[dim], dim, indices.dim() - 1) for dim in range(batch)]
    places = [_positions(indices[..., part], x.shape[batch + part]) for part in range(count)]
    return x[tuple(grid + places)]


def _along(size: int, dim: int, rank: int) -> Tensor:
    """0, 1, 2 … along one dimension of ``rank``."""
    return torch.arange(size).reshape([-1 if place == dim else 1 for place in range(rank)])


def _gather_elements(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node["axis"]
    return torch.gather(x, axis, _positions(indices, x.shape[axis]))


_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _scatter_elements(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    axis, reduction = node["axis"], node["reduction"] or "none"
    places = _positions(indices, x.shape[axis])
    if reduction == "none":
        return x.scatter(axis, places, updates)
    return x.scatter_reduce(axis, places, updates, _REDUCTIONS[reduction])


def _scatter_many(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    reduction, count = node["reduction"] or "none", indices.shape[-1]
    places = tuple(_positions(indices[..., part], x.shape[part]) for part in range(count))
    if reduction in ("none", "add"):
        return x.index_put(places, updates, accumulate=reduction == "add")
    if count != x.dim():
        raise node.refusal(f"it writes whole slices with reduction={reduction!r}")
    flat = torch.zeros_like(places[0])
    for place, size in zip(places, x.shape, strict=True):
        flat = flat * size + place
    values = x.reshape(-1).scatter_reduce(0, flat.reshape(-1), updates.reshape(-1), _REDUCTIONS[reduction])
    return values.reshape(x.shape)


def _one_hot(node: Node, indices: Tensor, depth: Any, values: Tensor) -> Tensor:
    count = depth[0] if isinstance(depth, list) else depth
    axis = node["axis"]
    axis = axis if axis >= 0 else indices.dim() + 1 + axis
    places = _positions(indices, count).unsqueeze(axis)
    hot = places == _along(count, axis, indices.dim() + 1)
    return torch.where(hot, values[1], values[0])


OPERATORS = {
    "Gather": Operator(_gather, single=(1,)),
    "GatherElements": Operator(_gather_elements),
    "GatherND": Operator(_gather_many),
    "NonZero": free(lambda x: torch.nonzero(x).t()),
    "OneHot": Operator(_one_hot, counts=(1,)),
    "Scatter": Operator(_scatter_elements),
    "ScatterElements": Operator(_scatter_elements),
    "ScatterND": Operator(_scatter_many),
}

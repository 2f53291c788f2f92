"""Norms."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from graphprune.importing.node import Node, Operator

__all__ = ["OPERATORS"]


def _batch(node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    if node["training_mode"] or len([name for name in node.outputs if name]) > 1:
        raise node.refusal("it is in training mode", "export the model in eval mode")
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, node["epsilon"])


def _instance(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, None, None, scale, bias, True, 0.0, node["epsilon"])


def _group(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Scale and bias are one for each channel since opset 21, before it one for each group."""
    groups = node["num_groups"]
    if node.opset < 21:
        each = x.shape[1] // groups
        scale, bias = (item.repeat_interleave(each) for item in (scale, bias))
    return F.group_norm(x, groups, scale, bias, node["epsilon"])


def _layer(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Any:
    first = node["axis"] % x.dim()
    shape = list(x.shape[first:])
    if len([name for name in node.outputs if name]) == 1 and list(scale.shape) == shape:
        return F.layer_norm(x, shape, scale, bias, node["epsilon"])
    dims = list(range(first, x.dim()))
    mean = x.mean(dims, keepdim=True)
    centred = x - mean
    inverse = torch.rsqrt(centred.square().mean(dims, keepdim=True) + node["epsilon"])
    result = centred * inverse * scale
    return (result if bias is None else result + bias, mean, inverse)[: len(node.outputs)]


def _root_mean_square(node: Node, x: Tensor, scale: Tensor) -> Tensor:
    dims = list(range(node["axis"] % x.dim(), x.dim()))
    return x * torch.rsqrt(x.square().mean(dims, keepdim=True) + node["epsilon"]) * scale


def _local_response(node: Node, x: Tensor) -> Tensor:
    """The window of an even size reaches further up than down, and so it does not in torch."""
    size = node["size"]
    before = (size - 1) // 2
    squares = F.pad(x.square().unsqueeze(1), [0, 0] * (x.dim() - 2) + [before, size - 1 - before])
    sums = sum(squares.narrow(2, start, x.shape[1]) for start in range(size)).squeeze(1)  # type: ignore[union-attr]
    return x / (node["bias"] + node["alpha"] / size * sums).pow(node["beta"])


def _to_length_one(node: Node, x: Tensor) -> Tensor:
    """Where all is zero, it stays zero."""
    length = torch.linalg.vector_norm(x, ord=node["p"], dim=node["axis"], keepdim=True)
    return torch.where(length == 0, torch.zeros_like(x), x / length)


def _mean_variance(node: Node, x: Tensor) -> Tensor:
    centred = x - x.mean(node["axes"], keepdim=True)
    return centred / (centred.square().mean(node["axes"], keepdim=True).sqrt() + 1e-9)


OPERATORS = {
    "BatchNormalization": Operator(_batch),
    "GroupNormalization": Operator(_group),
    "InstanceNormalization": Operator(_instance),
    "LRN": Operator(_local_response),
    "LayerNormalization": Operator(_layer),
    "LpNormalization": Operator(_to_length_one),
    "MeanVarianceNormalization": Operator(_mean_variance),
    "RMSNormalization": Operator(_root_mean_square),
}

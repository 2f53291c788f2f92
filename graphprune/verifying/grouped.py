"""Convolutions of many groups, of which the removed ones are not computed.

In float64 PyTorch convolves group after group, and a call for each is most of what a depthwise convolution takes. A
group whose weights and bias are zero gives zeros. That is read off the numbers: no plan and no rule is asked.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from graphprune.capture.execution import call_operator
from graphprune.capture.operators import given_arguments

__all__ = ["call_without_zeros"]

_CONVOLUTIONS = tuple(f"aten.conv{n}d.default" for n in (1, 2, 3))


def call_without_zeros(node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """As `call_operator`; groups of a convolution that are zero are filled in."""
    if str(node.target) not in _CONVOLUTIONS:
        return call_operator(node, args, kwargs)
    given = given_arguments(node, args, kwargs)
    groups, weight, bias = given.get("groups", 1), given["weight"], given.get("bias")
    hidden = weight.requires_grad and not weight.is_leaf  # y - y.detach() is zero, its gradient is not
    if groups == 1 or hidden or given["input"].dim() < weight.dim():
        return call_operator(node, args, kwargs)
    computed = _computed(groups, *(weight,) if bias is None else (weight, bias))
    if not 0 < len(computed) < groups:
        return call_operator(node, args, kwargs)

    def part(tensor: Tensor, dim: int) -> Tensor:
        return tensor.unflatten(dim, (groups, -1)).index_select(dim, computed).flatten(dim, dim + 1)

    cut = {"input": part(given["input"], 1), "weight": part(weight, 0), "groups": len(computed)}
    cut |= {} if bias is None else {"bias": part(bias, 0)}
    value = node.target(**{**given, **cut}).unflatten(1, (len(computed), -1))  # type: ignore[operator]
    whole = value.new_zeros((value.shape[0], groups, *value.shape[2:]))
    return whole.index_copy(1, computed, value).flatten(1, 2)


def _computed(groups: int, *tensors: Tensor) -> Tensor:
    """The groups of which anything is not zero."""
    rows = [tensor.detach().reshape(groups, -1) for tensor in tensors]
    return torch.cat(rows, 1).any(1).nonzero().flatten()

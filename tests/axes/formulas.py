"""Operators that average, normalise or compare, defined on the kept positions only.

Each takes an operator's arguments by name at full width and the masks of its tensors, and returns the full
result, of which only the kept positions mean anything. No function here calls the operator it defines.
"""

from __future__ import annotations

from math import inf
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "attention",
    "batch_norm",
    "every",
    "finished",
    "group_norm",
    "instance_norm",
    "largest",
    "layer_norm",
    "log_softmax",
    "logsumexp",
    "mean",
    "norm",
    "over",
    "product",
    "rms_norm",
    "smallest",
    "softmax",
    "std",
    "std_mean",
    "var",
    "var_mean",
]

Arguments = dict[str, Any]
Masks = dict[str, Tensor]


def over(arguments: Arguments) -> list[int]:
    """The dimensions that are reduced."""
    dim = arguments.get("dim")
    if isinstance(dim, int):
        return [dim]
    return list(dim) if dim else list(range(arguments["self"].dim()))


def _moments(x: Tensor, mask: Tensor, dims: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, sum of squared deviations and count over the kept positions, keeping ``dims``."""
    count = mask.sum(dims, keepdim=True).double()
    mean = (x * mask).sum(dims, keepdim=True) / count
    return mean, ((x - mean) ** 2 * mask).sum(dims, keepdim=True), count


def finished(result: Tensor, arguments: Arguments) -> Tensor:
    """Without the reduced dimensions, unless they are to be kept."""
    return result if arguments.get("keepdim") else result.squeeze(over(arguments))


def mean(arguments: Arguments, masks: Masks) -> Tensor:
    average, _, _ = _moments(arguments["self"], masks["self"], over(arguments))
    return finished(average, arguments)


def _correction(arguments: Arguments) -> float:
    given = arguments.get("correction")
    return float(given) if given is not None else float(arguments.get("unbiased", True))


def var(arguments: Arguments, masks: Masks) -> Tensor:
    _, squares, count = _moments(arguments["self"], masks["self"], over(arguments))
    return finished(squares / (count - _correction(arguments)).clamp(min=0), arguments)


def std(arguments: Arguments, masks: Masks) -> Tensor:
    return var(arguments, masks) ** 0.5


def var_mean(arguments: Arguments, masks: Masks) -> tuple[Tensor, Tensor]:
    return var(arguments, masks), mean(arguments, masks)


def std_mean(arguments: Arguments, masks: Masks) -> tuple[Tensor, Tensor]:
    return std(arguments, masks), mean(arguments, masks)


def _extreme(arguments: Arguments, masks: Masks, sign: int) -> Tensor:
    """By sorting, largest first."""
    x = (sign * arguments["self"]).masked_fill(~masks["self"], -inf)
    for dim in over(arguments):
        x = x.sort(dim, descending=True).values.narrow(dim, 0, 1)
    return finished(sign * x, arguments)


def largest(arguments: Arguments, masks: Masks) -> Tensor:
    return _extreme(arguments, masks, 1)


def smallest(arguments: Arguments, masks: Masks) -> Tensor:
    return _extreme(arguments, masks, -1)


def product(arguments: Arguments, masks: Masks) -> Tensor:
    x = arguments["self"].masked_fill(~masks["self"], 1)
    for dim in over(arguments):
        factors = x.unbind(dim)
        x = factors[0]
        for factor in factors[1:]:
            x = x * factor
        x = x.unsqueeze(dim)
    return finished(x, arguments)


def every(arguments: Arguments, masks: Masks) -> Tensor:
    wrong = (arguments["self"] == 0) & masks["self"]
    return finished(wrong.sum(over(arguments), keepdim=True) == 0, arguments)


def logsumexp(arguments: Arguments, masks: Masks) -> Tensor:
    total = (arguments["self"].exp() * masks["self"]).sum(over(arguments), keepdim=True)
    return finished(total.log(), arguments)


def norm(arguments: Arguments, masks: Masks) -> Tensor:
    power = arguments.get("ord", arguments.get("p"))
    power = 2.0 if power is None else float(power)
    if power == -inf:
        absolute = {**arguments, "self": arguments["self"].abs()}
        return smallest(absolute, masks)
    total = (arguments["self"].abs() ** power * masks["self"]).sum(over(arguments), keepdim=True)
    return finished(total ** (1 / power), arguments)


def softmax(arguments: Arguments, masks: Masks) -> Tensor:
    weights = arguments["self"].exp() * masks["self"]
    return weights / weights.sum(arguments["dim"], keepdim=True)


def log_softmax(arguments: Arguments, masks: Masks) -> Tensor:
    return softmax(arguments, masks).log()


def _per_channel(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    shape = [1, -1] + [1] * (x.dim() - 2)
    x = x if weight is None else x * weight.reshape(shape)
    return x if bias is None else x + bias.reshape(shape)


def layer_norm(arguments: Arguments, masks: Masks) -> Tensor:
    x = arguments["input"]
    dims = list(range(x.dim() - len(arguments["normalized_shape"]), x.dim()))
    average, squares, count = _moments(x, masks["input"], dims)
    result = (x - average) / (squares / count + arguments["eps"]) ** 0.5
    weight, bias = arguments["weight"], arguments["bias"]
    return result if weight is None else result * weight + bias


def rms_norm(arguments: Arguments, masks: Masks) -> Tensor:
    x = arguments["input"]
    dims = list(range(x.dim() - len(arguments["normalized_shape"]), x.dim()))
    _, squares, count = _moments(x, masks["input"], dims)
    average = (x * masks["input"]).sum(dims, keepdim=True) / count
    eps = torch.finfo(x.dtype).eps if arguments["eps"] is None else arguments["eps"]
    result = x / (squares / count + average**2 + eps) ** 0.5
    return result if arguments["weight"] is None else result * arguments["weight"]


def _statistics_over(arguments: Arguments, masks: Masks, dims: list[int]) -> Tensor:
    x = arguments["input"]
    average, squares, count = _moments(x, masks["input"], dims)
    result = (x - average) / (squares / count + arguments["eps"]) ** 0.5
    return _per_channel(result, arguments["weight"], arguments["bias"])


def batch_norm(arguments: Arguments, masks: Masks) -> Tensor:
    """With the statistics of the batch."""
    return _statistics_over(arguments, masks, [0, *range(2, arguments["input"].dim())])


def instance_norm(arguments: Arguments, masks: Masks) -> Tensor:
    return _statistics_over(arguments, masks, list(range(2, arguments["input"].dim())))


def group_norm(arguments: Arguments, masks: Masks) -> Tensor:
    x, groups = arguments["input"], arguments["num_groups"]
    split = (x.shape[0], groups, -1)
    mask = masks["input"].expand(x.shape).reshape(split)
    average, squares, count = _moments(x.reshape(split), mask, [2])
    result = (x.reshape(split) - average) / (squares / count + arguments["eps"]) ** 0.5
    return _per_channel(result.reshape(x.shape), arguments["weight"], arguments["bias"])


def attention(arguments: Arguments, masks: Masks) -> Tensor:
    """The scale is that of the full width. A query without any key gets zero."""
    query, key, value = (arguments[name] for name in ("query", "key", "value"))
    scale = arguments["scale"] if arguments["scale"] is not None else query.shape[-1] ** -0.5
    query = query * masks["query"]
    kept = masks["key"].any(-1, keepdim=True)
    if arguments["enable_gqa"]:
        times = query.shape[-3] // key.shape[-3]
        key, value, kept = (x.repeat_interleave(times, -3) for x in (key, value, kept))
    scores = torch.einsum("...nd,...md->...nm", query, key) * scale
    weights = scores.exp() * kept.mT
    mask = arguments["attn_mask"]
    if mask is not None:
        weights = weights * (mask if mask.dtype == torch.bool else mask.exp())
    if arguments["is_causal"]:
        rows, columns = (torch.arange(size) for size in weights.shape[-2:])
        weights = weights * (rows[:, None] >= columns)
    return (weights / weights.sum(-1, keepdim=True)).nan_to_num(0) @ value

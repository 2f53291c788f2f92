"""Losses, distances and statistics of order, defined on the kept positions only; see `formulas`."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from formulas import Arguments, Masks, finished, over
from torch import Tensor

__all__ = [
    "binary_cross_entropy",
    "cosine_embedding",
    "cross_entropy",
    "dist",
    "extremes",
    "hinge",
    "huber",
    "kl_div",
    "l1",
    "matrix_norm",
    "mean_of_numbers",
    "median",
    "mse",
    "multi_margin",
    "one_by_one",
    "pairwise",
    "poisson",
    "quantile",
    "ranking",
    "renorm",
    "smooth_l1",
    "soft_margin",
    "triplet",
    "with_logits",
]


def _reduced(each: Tensor, mask: Tensor, reduction: int) -> Tensor:
    """0 for none, 1 for the mean, 2 for the sum."""
    if reduction == 0:
        return each
    total = torch.where(mask, each, 0).sum()
    return total / mask.expand(each.shape).sum() if reduction == 1 else total


def _loss(place: Callable[..., Tensor]) -> Callable[[Arguments, Masks], Tensor]:
    """A loss by what it is at one place."""

    def masked(arguments: Arguments, masks: Masks) -> Tensor:
        tensors = {name: value for name, value in arguments.items() if isinstance(value, Tensor)}
        mask = reduce(torch.logical_and, (masks[name] for name in tensors))
        options = {name: value for name, value in arguments.items() if name not in tensors}
        return _reduced(place(**tensors, **options), mask, options.pop("reduction"))

    return masked


mse = _loss(lambda self, target, reduction: (self - target) ** 2)
l1 = _loss(lambda self, target, reduction: (self - target).abs())


@_loss
def smooth_l1(self: Tensor, target: Tensor, reduction: int, beta: float) -> Tensor:
    far = (self - target).abs()
    return torch.where(far < beta, far**2 / (2 * beta), far - beta / 2)


@_loss
def huber(self: Tensor, target: Tensor, reduction: int, delta: float) -> Tensor:
    far = (self - target).abs()
    return torch.where(far < delta, far**2 / 2, delta * (far - delta / 2))


kl_div = _loss(lambda self, target, reduction, log_target: target * (target.log() - self))


@_loss
def binary_cross_entropy(self: Tensor, target: Tensor, reduction: int, weight: Any) -> Tensor:
    each = -(target * self.log() + (1 - target) * (1 - self).log())
    return each if weight is None else each * weight


@_loss
def with_logits(self: Tensor, target: Tensor, reduction: int, weight: Any, pos_weight: Any) -> Tensor:
    positive = 1 if pos_weight is None else pos_weight
    p = 1 / (1 + (-self).exp())
    each = -(positive * target * p.log() + (1 - target) * (1 - p).log())
    return each if weight is None else each * weight


soft_margin = _loss(lambda self, target, reduction: (1 + (-target * self).exp()).log())


@_loss
def poisson(input: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: int) -> Tensor:
    return input.exp() - target * input if log_input else input - target * (input + eps).log()


@_loss
def ranking(input1: Tensor, input2: Tensor, target: Tensor, margin: float, reduction: int) -> Tensor:
    return (-target * (input1 - input2) + margin).clamp(min=0)


@_loss
def hinge(self: Tensor, target: Tensor, margin: float, reduction: int) -> Tensor:
    return torch.where(target == 1, self, (margin - self).clamp(min=0))


# -- distances ------------------------------------------------------------------------------------------------
def _far(x: Tensor, y: Tensor, mask: Tensor, p: float, eps: float, keepdim: bool = False) -> Tensor:
    return (((x - y + eps).abs() ** p) * mask).sum(-1, keepdim=keepdim) ** (1 / p)


def pairwise(arguments: Arguments, masks: Masks) -> Tensor:
    mask = masks["x1"] & masks["x2"]
    return _far(arguments["x1"], arguments["x2"], mask, *(arguments[n] for n in ("p", "eps", "keepdim")))


def dist(arguments: Arguments, masks: Masks) -> Tensor:
    mask = masks["self"] & masks["other"]
    return (((arguments["self"] - arguments["other"]).abs() ** arguments["p"]) * mask).sum() ** (
        1 / arguments["p"]
    )


def triplet(arguments: Arguments, masks: Masks) -> Tensor:
    mask = masks["anchor"] & masks["positive"] & masks["negative"]
    far = [
        _far(arguments["anchor"], arguments[name], mask, arguments["p"], arguments["eps"])
        for name in ("positive", "negative")
    ]
    return _reduced(
        (far[0] - far[1] + arguments["margin"]).clamp(min=0), mask.any(-1), arguments["reduction"]
    )


def cosine_embedding(arguments: Arguments, masks: Masks) -> Tensor:
    mask = masks["input1"] & masks["input2"]
    x, y = arguments["input1"] * mask, arguments["input2"] * mask
    eps = 1e-12  # as in the operator
    cosine = (x * y).sum(-1) / (((x * x).sum(-1) + eps) * ((y * y).sum(-1) + eps)) ** 0.5
    each = torch.where(arguments["target"] == 1, 1 - cosine, (cosine - arguments["margin"]).clamp(min=0))
    return _reduced(each, mask.any(-1), arguments["reduction"])


# -- scores of classes ----------------------------------------------------------------------------------------
def cross_entropy(arguments: Arguments, masks: Masks, logarithms: bool = True) -> Tensor:
    """By class in dimension 1; of scores, or with ``logarithms=False`` of their logarithms of softmax."""
    x, target, weight = arguments["self"], arguments["target"], arguments["weight"]
    along = min(x.dim() - 1, 1)
    logs = x - x.exp().sum(along, keepdim=True).log() if logarithms else x
    if target.is_floating_point():
        each = -(target * logs).sum(along)
        return _reduced(each, masks["self"].any(along), arguments["reduction"])
    each = -logs.gather(along, target.unsqueeze(along)).squeeze(along)
    weights = torch.ones_like(each) if weight is None else weight[target]
    each, mask = each * weights, masks["target"]
    if arguments["reduction"] == 1:
        return (each * mask).sum() / (weights * mask).sum()
    return _reduced(each, mask, arguments["reduction"])


def multi_margin(arguments: Arguments, masks: Masks) -> Tensor:
    x, target = arguments["self"], arguments["target"]
    right = x.gather(1, target.unsqueeze(1))
    far = (arguments["margin"] - right + x).clamp(min=0)
    each = (far.scatter(1, target.unsqueeze(1), 0)).sum(1) / x.shape[1]
    return _reduced(each, masks["target"], arguments["reduction"])


# -- statistics -----------------------------------------------------------------------------------------------
def _by_rows(of_numbers: Callable[[Tensor], Tensor]) -> Callable[[Arguments, Masks], Tensor]:
    """What is computed of the kept numbers along ``dim``, one run of them after the other."""

    def masked(arguments: Arguments, masks: Masks) -> Tensor:
        x, dims = arguments["self"], over(arguments)
        mask = masks["self"].expand(x.shape)
        last = list(range(-len(dims), 0))
        rows, kept = (item.movedim(dims, last).flatten(-len(dims)) if dims else item for item in (x, mask))
        shape = rows.shape[:-1]
        results = [
            of_numbers(row[keep]) if bool(keep.any()) else torch.zeros((), dtype=x.dtype)
            for row, keep in zip(
                rows.reshape(-1, rows.shape[-1]), kept.reshape(-1, rows.shape[-1]), strict=True
            )
        ]
        result = torch.stack(results).reshape([*shape, *results[0].shape])
        for dim in sorted(dims):
            result = result.unsqueeze(dim)
        return finished(result, arguments)

    return masked


def _at(values: Tensor, share: float) -> Tensor:
    """The quantile, between neighbours in proportion."""
    ordered = values.sort().values
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


mean_of_numbers = _by_rows(lambda values: values[~values.isnan()].sum() / (~values.isnan()).sum())
median = _by_rows(lambda values: values.sort().values[(len(values) - 1) // 2])
_smallest = _by_rows(lambda values: values.sort().values[0])
_largest = _by_rows(lambda values: values.sort().values[-1])


def extremes(arguments: Arguments, masks: Masks) -> tuple[Tensor, Tensor]:
    return _smallest(arguments, masks), _largest(arguments, masks)


def quantile(arguments: Arguments, masks: Masks) -> Tensor:
    wanted = arguments["q"]
    if not isinstance(wanted, Tensor) or not wanted.dim():
        share = float(wanted)
        return _by_rows(lambda values: _at(values, share))(arguments, masks)
    return torch.stack([quantile({**arguments, "q": float(share)}, masks) for share in wanted])


def renorm(arguments: Arguments, masks: Masks) -> Tensor:
    x = arguments["self"]
    others = [dim for dim in range(x.dim()) if dim != arguments["dim"] % x.dim()]
    norm = ((x * masks["self"]).abs() ** arguments["p"]).sum(others, keepdim=True) ** (1 / arguments["p"])
    return x * (arguments["maxnorm"] / (norm + 1e-7)).clamp(max=1)  # the small number is the operator's


def matrix_norm(arguments: Arguments, masks: Masks) -> Tensor:
    """By singular values, or by sums of rows and columns."""
    dims = arguments.get("dim") or [-2, -1]
    x = (arguments["self"] * masks["self"]).movedim(list(dims), [-2, -1])
    kind = arguments.get("ord", "nuc")
    if kind == 1:
        result = x.abs().sum(-2).amax(-1)
    elif kind in ("fro", None):
        result = (x**2).sum((-2, -1)) ** 0.5
    else:
        values = torch.linalg.svdvals(x)
        result = values.sum(-1) if kind == "nuc" else values.amax(-1)
    if arguments.get("keepdim"):
        for dim in sorted(d % arguments["self"].dim() for d in dims):
            result = result.unsqueeze(dim)
    return result


def one_by_one(operator: Any, tail: int = 2) -> Callable[[Arguments, Masks], Any]:
    """``operator`` on one matrix after the other, those that are gone left out."""

    def masked(arguments: Arguments, masks: Masks) -> Any:
        tensors = {name: value for name, value in arguments.items() if isinstance(value, Tensor)}
        first = next(iter(tensors))
        shape = tensors[first].shape[:-tail]
        kept = masks[first].flatten(-tail).any(-1)
        found: list[Any] = []
        for place in torch.cartesian_prod(*map(torch.arange, shape)).reshape(-1, len(shape)).tolist():
            given = {name: value[tuple(place)] for name, value in tensors.items()}
            found.append(operator(**{**arguments, **given}) if bool(kept[tuple(place)]) else None)
        sample = next(item for item in found if item is not None)
        filled = [sample if item is None else item for item in found]
        if isinstance(sample, Tensor):
            return torch.stack(filled).reshape(*shape, *sample.shape)
        parts = zip(*filled, strict=True)
        return [torch.stack(part).reshape(*shape, *part[0].shape) for part in parts]

    return masked

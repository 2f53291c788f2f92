"""Reductions and norms of tensors of which some elements are removed: those of the kept elements, by arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from fuzz_held import INF, Held, Unknown, cleared, even, ones, safe, zeroed
from torch import Tensor
from torch.utils._pytree import tree_map_only

__all__ = ["NORMS", "REDUCTIONS"]


def _dims(args: Any, kwargs: Any, rank: int, place: int = 1) -> tuple[list[int], bool]:
    dims = kwargs.get("dim", args[place] if len(args) > place else None)
    keep = kwargs.get("keepdim", next((item for item in args[place + 1 :] if isinstance(item, bool)), False))
    if dims is None or dims == []:
        dims = range(rank)
    return [dim % rank for dim in ([dims] if isinstance(dims, int) else dims)] if rank else [], keep


def _any(mask: Tensor, dims: list[int], keep: bool) -> Tensor:
    return mask.amax(dims, keepdim=keep) if dims else mask.clone()


def _reduction(define: Callable[..., Tensor]) -> Callable[..., Held]:
    def rule(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
        x, m = args[0], masks[0]
        dims, keep = _dims(args, kwargs, x.dim(), 2 if "vector_norm" in str(func) else 1)
        mask = _any(m, dims, keep)
        if even(m, dims):  # only along other dimensions
            with torch.no_grad():
                plain = cleared(func(*args, **kwargs), mask).plain
            return Held(zeroed(func(safe(x, m), *args[1:], **kwargs), mask), mask, plain)
        value = define(x, m, dims, keep, args, kwargs)
        return Held(zeroed(value, mask), mask, plain=False)

    return rule


def _sum(x: Tensor, m: Tensor, dims: list[int], keep: bool, *_: Any) -> Tensor:
    return x.sum(dims, keepdim=keep)


def _count(m: Tensor, dims: list[int], keep: bool) -> Tensor:
    return m.sum(dims, keepdim=keep)


def _mean(x: Tensor, m: Tensor, dims: list[int], keep: bool, *_: Any) -> Tensor:
    return (x * m).sum(dims, keepdim=keep) / _count(m, dims, keep).clamp(min=1)


def _variance(x: Tensor, m: Tensor, dims: list[int], keep: bool, args: Any, kwargs: Any) -> Tensor:
    correction = kwargs.get("correction", 1)
    correction = 1 if correction is None else correction
    centred = (x - _mean(x, m, dims, True)) * m
    count = _count(m, dims, keep)
    # of a row of which nothing is kept there is no variance, nor is it read
    return centred.pow(2).sum(dims, keepdim=keep) / torch.where(count > 0, count - correction, 1).clamp(min=0)


def _deviation(*given: Any) -> Tensor:
    found = _variance(*given)
    return torch.where(found > 0, found, 1.0).sqrt() * (found > 0)


def _largest(x: Tensor, m: Tensor, dims: list[int], keep: bool, *_: Any) -> Tensor:
    return x.masked_fill(m == 0, -INF).amax(dims, keepdim=keep)


def _smallest(x: Tensor, m: Tensor, dims: list[int], keep: bool, *_: Any) -> Tensor:
    return x.masked_fill(m == 0, INF).amin(dims, keepdim=keep)


def _product(x: Tensor, m: Tensor, dims: list[int], keep: bool, *_: Any) -> Tensor:
    x = x.masked_fill(m == 0, 1)
    for dim in sorted(dims, reverse=True):
        x = x.prod(dim, keepdim=keep)
    return x


def _log_sum(x: Tensor, m: Tensor, dims: list[int], keep: bool, *_: Any) -> Tensor:
    return x.masked_fill(m == 0, -INF).logsumexp(dims, keepdim=keep)


def _norm(x: Tensor, m: Tensor, dims: list[int], keep: bool, args: Any, kwargs: Any) -> Tensor:
    order = args[1] if len(args) > 1 else kwargs.get("ord", 2)
    return torch.linalg.vector_norm(x, order, dims, keep)


def _along(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    """Operators along a dimension of which nothing may be removed: sorting, ranks, places."""
    x, m = args[0], masks[0]
    dim = kwargs.get(
        "dim", next((i for i in args[1:] if isinstance(i, int) and not isinstance(i, bool)), None)
    )
    if "topk" in str(func):
        dim = kwargs.get("dim", args[2] if len(args) > 2 else -1)
    if dim is None or not even(m, [dim % x.dim()]):
        raise Unknown(f"{func} along a dimension with holes")
    value = func(*args, **kwargs)

    def mask(leaf: Tensor) -> Tensor:
        own = m.amax(dim, keepdim=leaf.dim() == m.dim())
        return own.expand(leaf.shape).contiguous()

    kept = tree_map_only(Tensor, mask, value)
    return Held(tree_map_only(Tensor, lambda leaf: zeroed(leaf, mask(leaf)), value), kept)


def _softmax(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    x, m = args[0], masks[0]
    dim = args[1] % x.dim()
    if even(m, [dim]):
        return cleared(func(*args, **kwargs), m.clone())
    lowered = x.masked_fill(m == 0, -1e300)  # a row of which nothing is kept is zeroed
    return Held(zeroed(func(lowered, *args[1:], **kwargs), m), m.clone(), plain=False)


def _gated(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    """The first half, each element with a gate of the second."""
    dim = args[1] if len(args) > 1 else -1
    first, second = masks[0].chunk(2, dim)
    return cleared(func(*args, **kwargs), first * second)


def _extremes(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    """By which one-hot vectors check their indices; those of removed rows are 0."""
    value = func(*args, **kwargs)
    return Held(value, tree_map_only(Tensor, ones, value))


# --- norms


def _scaled(
    value: Tensor, mask: Tensor, weight: Any, bias: Any, masks: tuple[Any, Any], shape: list[int]
) -> Held:
    for factor, twin, add in ((weight, masks[0], False), (bias, masks[1], True)):
        if factor is not None:
            value = value + factor.reshape(shape) if add else value * factor.reshape(shape)
            mask = mask * twin.reshape(shape)
    return cleared(value, mask)


def _layer_norm(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    x, shape, weight, bias, eps = args
    m, dims = masks[0], list(range(-len(shape), 0))
    if weight is not None:
        m = m * masks[2]
    mean = _mean(x * m, m, dims, True)
    var = _variance(x * m, m, dims, True, (), {"correction": 0})
    value = (x - mean) * torch.rsqrt(var + eps)
    result = _scaled(value, m, weight, bias, (masks[2], masks[3]), list(shape))
    return Held((result.value, mean, var), (result.mask, torch.ones_like(mean), torch.ones_like(var)), False)


def _rms_norm(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    x, shape, weight, eps = args
    m, dims = masks[0], list(range(-len(shape), 0))
    if weight is not None:
        m = m * masks[2]
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    scale = torch.rsqrt(_mean(x.pow(2), m, dims, True) + eps)
    result = _scaled(x * scale, m, weight, None, (masks[2], None), list(shape))
    return Held((result.value, scale), (result.mask, torch.ones_like(scale)), False)


def _group_norm(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    x, weight, bias, n, c, _, groups, eps = args
    along = [1, c, *[1] * (x.dim() - 2)]
    m = masks[0] * (masks[1].reshape(along) if weight is not None else 1)
    split = (n, groups, -1)
    y, twin = (x * m).reshape(split), m.reshape(split)
    mean = _mean(y, twin, [2], True)
    var = _variance(y, twin, [2], True, (), {"correction": 0})
    value = ((y - mean) * torch.rsqrt(var + eps)).reshape(x.shape)
    result = _scaled(value, m, weight, bias, (masks[1], masks[2]), along)
    side = torch.ones(n, groups, dtype=torch.float64)
    return Held((result.value, mean.squeeze(2), var.squeeze(2)), (result.mask, side, side.clone()), False)


def _batch_norm(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    """With stored statistics, or with those of the batch, which for instance norms are those of an image."""
    x, weight, bias, mean, var = args[:5]
    eps = args[-1]
    mask, along = masks[0], [1, -1, *[1] * (x.dim() - 2)]
    across = [dim for dim in range(x.dim()) if dim != 1]
    own = "no_training" in str(func) or not args[5]
    if own:
        value = (x - mean.reshape(along)) * torch.rsqrt(var.reshape(along) + eps)
        mask = mask * masks[3].reshape(along)
    else:
        centre = _mean(x, mask, across, True)
        spread = _variance(x, mask, across, True, (), {"correction": 0})
        value = (x - centre) * torch.rsqrt(spread + eps)
    whole = own or even(masks[0], across)
    result = _scaled(value, mask, weight, bias, (masks[1], masks[2]), along)
    side = torch.zeros(0, dtype=torch.float64)
    return Held((result.value, side, side), (result.mask, side, side), whole and result.plain)


REDUCTIONS: dict[str, Callable[..., Held]] = {
    "mean": _reduction(_mean),
    "sum": _reduction(_sum),
    "amax": _reduction(_largest),
    "amin": _reduction(_smallest),
    "var": _reduction(_variance),
    "std": _reduction(_deviation),
    "prod": _reduction(_product),
    "logsumexp": _reduction(_log_sum),
    "linalg_vector_norm": _reduction(_norm),
    **dict.fromkeys("_softmax _log_softmax _safe_softmax".split(), _softmax),
    "glu": _gated,
    "aminmax": _extremes,
    **dict.fromkeys("max min topk sort argsort argmax argmin cumsum cumprod".split(), _along),
}
NORMS: dict[str, Callable[..., Held]] = {
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "_fused_rms_norm": _rms_norm,
    **dict.fromkeys("native_batch_norm _native_batch_norm_legit_no_training".split(), _batch_norm),
}

"""Products, windows and places of tensors of which some elements are removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from fuzz_held import ATEN, Held, Unknown, cleared, even, zeroed
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

__all__ = ["PLACES", "PRODUCTS", "WINDOWS"]


def _fit(a: Tensor, b: Tensor) -> bool:
    """Whether what one matrix lacks of the axis that is summed, the other lacks too."""
    if a.dim() != b.dim() or a.dim() < 2:
        return True
    return torch.equal(a.flatten(0, -2).amax(0), b.transpose(-1, -2).flatten(0, -2).amax(0))


def _multilinear(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    mask = (func(*masks, **named) > 0).double()
    return Held(zeroed(func(*args, **kwargs), mask), mask, _fit(*masks[:2]))


def _add_product(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    mask = (masks[1] @ masks[2] > 0).double() * masks[0]
    found = cleared(func(*args, **kwargs), mask)
    return Held(found.value, mask, found.plain and _fit(*masks[1:3]))


def _convolution(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    _x, w, bias, *_, transposed, _, groups = args
    mx, mw, mb = masks[:3]
    value = func(*args, **kwargs)
    # [groups * in, out, ...] if transposed
    own = (
        mw.flatten(2).amax(2).unflatten(0, (groups, -1)).amax(1).flatten()
        if transposed
        else mw.flatten(1).amax(1)
    )
    if bias is not None:
        own = own * mb
    if not even(mx, list(range(2, mx.dim()))):
        if w.shape[2:].numel() > 1 or any(args[4]):
            raise Unknown("a convolution of images with holes")
        mask = (func(mx, mw, None, *args[3:]) > 0).double()  # pixel by pixel
        if bias is not None:
            mask = mask * mb.reshape(1, -1, *[1] * (value.dim() - 2))
        return cleared(value, mask)
    rows = mx.flatten(1).amax(1)
    shape = [1, -1, *[1] * (value.dim() - 2)]
    mask = (rows.reshape(-1, *[1] * (value.dim() - 1)) * own.reshape(shape)).expand(value.shape).contiguous()
    found = cleared(value, mask)
    reads = mw.transpose(0, 1) if transposed else mw
    fit = groups > 1 or torch.equal(
        reads.transpose(0, 1).flatten(1).amax(1), mx.transpose(0, 1).flatten(1).amax(1)
    )
    return Held(found.value, mask, found.plain and fit)


def _pad(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    """What is new beside kept and removed channels is kept; beside pixels it goes with its channel."""
    value = func(*args, **kwargs)
    mask = func(masks[0], args[1], 1.0)
    for dim in range(value.dim()):
        if value.shape[dim] != masks[0].shape[dim] and even(masks[0], [dim]):
            mask = mask.amin(dim, keepdim=True).expand(mask.shape)
    return cleared(value, mask.contiguous())


def _window(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    """Pooling and resizing of images: channels keep their places."""
    x, m = args[0], masks[0]
    value = func(*args, **kwargs)
    outer = tree_leaves(value)[0].shape
    count = next(number for number in (1, 2, 3) if f"{number}d" in str(func))
    sizes = args[1] if isinstance(args[1], list | tuple) else [args[1]] * count
    by_size = "adaptive" in str(func) or "upsample" in str(func)  # else they are those of the window
    dims = [
        dim
        for dim, size in zip(range(x.dim() - count, x.dim()), sizes, strict=True)
        if outer[dim] != x.shape[dim] or not (by_size or size == 1)  # where all else stays where it is
    ]
    if not even(m, dims):
        raise Unknown(f"{func} of images with holes")
    own = m.amax(dims, keepdim=True) if dims else m
    mask = tree_map_only(Tensor, lambda leaf: own.expand(leaf.shape).contiguous(), value)
    found = tree_map_only(Tensor, lambda leaf: zeroed(leaf, own.expand(leaf.shape)), value)
    return Held(found, mask, all(map(torch.equal, tree_leaves(found), tree_leaves(value))))


def _unfolded(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    """Columns of an image, beside which there are zeros."""
    kernel, dilation, padding, stride = args[1:]
    beside = torch.nn.functional.pad(
        masks[0], (padding[1], padding[1], padding[0], padding[0]), mode="replicate"
    )
    return cleared(func(*args), func(beside, kernel, dilation, [0, 0], stride))


def _indexed(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    """Values are moved from places that integers say, which the twin is moved from too; and places may be removed."""
    value, mask = func(*args, **kwargs), func(masks[0], *args[1:], **named)
    places = [leaf for leaf in tree_leaves(masks[1:]) if isinstance(leaf, Tensor)]
    if all(bool(twin.all()) for twin in places):
        return Held(value, mask)
    if len(places) > 1 or places[0].dim() != 1 or "embedding" in str(func):
        raise Unknown(f"{func} at removed places")
    before = (
        args[1] if isinstance(args[1], int) else next(at for at, one in enumerate(args[1]) if one is not None)
    )
    own = places[0].reshape(-1, *[1] * (value.dim() - 1 - before % value.dim()))
    return Held(zeroed(value, mask * own), mask * own, False)


def _gather(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    mask = func(masks[0], args[1], args[2]) * masks[2]
    return Held(zeroed(func(*args, **kwargs), mask), mask)


def _scatter(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    """Along a dimension of which nothing is removed; sums keep what they are added to."""
    dim = args[1] % max(args[0].dim(), 1)
    if not even(masks[2], [dim]) or not even(masks[0], [dim]):
        raise Unknown(f"{func} along a dimension with holes")
    mask = masks[0] * masks[2].amax(dim, keepdim=True) if masks[2].shape == masks[0].shape else masks[0]
    value = func(*args, **kwargs)
    return cleared(value, mask)


def _scatter_number(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    """In place, by which one-hot vectors are made."""
    target, twin = func(*args, **kwargs), masks[0]
    twin.mul_(masks[2].amax(args[1], keepdim=True))
    target.copy_(zeroed(target, twin))
    return Held(target, twin)


def _fill(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    """In place: what is removed stays so."""
    target, twin = args[0], masks[0]
    value = torch.full_like(target, 0.0 if func._schema.name.endswith("zero_") else args[1])
    result = cleared(value, twin)
    target.copy_(result.value)
    return Held(target, twin, result.plain)


def _copy(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    func(*args, **kwargs)
    masks[0].copy_(masks[1])
    return Held(args[0], masks[0])


def _put(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    """index_put, with integers or with booleans as places."""
    target, indices, source = args[:3]
    inside = func._schema.name.endswith("_")
    if len(args) > 3 and args[3]:
        raise Unknown("index_put that adds up")
    twin = masks[0] if inside else masks[0].clone()
    spread = masks[2] if source.dim() else torch.ones((), dtype=torch.float64)
    logical = any(isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in indices)
    before = twin.clone()
    func(*args, **kwargs) if inside else None
    value = target if inside else func(*args, **kwargs)
    if source.dim() and not logical:
        ATEN.index_put_(twin, indices, spread)
    result = cleared(value, before if logical or not source.dim() else twin)
    if inside and not result.plain:
        target.copy_(result.value)
    return Held(target if inside else result.value, twin, result.plain)


def _index_write(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    """index_copy, index_add: along a dimension by integers. What is added may be removed where the target is not."""
    inside = func._schema.name.endswith("_")
    held = args[0] != 0
    value = func(*args, **kwargs)
    if "copy" in func._schema.name:
        twin = func(masks[0], args[1], args[2], masks[3])
    else:
        changed = torch.where(
            held, masks[0], ATEN.index_copy(masks[0], args[1], args[2], masks[3]) * masks[0]
        )
        twin = masks[0].copy_(changed) if inside else changed
    return Held(value, twin)


def _like(func: Any, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    mask = masks[0].clone()
    value = func(*args, **kwargs)
    return cleared(value, mask)


PRODUCTS: dict[str, Callable[..., Held]] = {
    **dict.fromkeys("mm bmm mv dot _trilinear".split(), _multilinear),
    **dict.fromkeys("addmm baddbmm addmv".split(), _add_product),
    "convolution": _convolution,
}
WINDOWS: dict[str, Callable[..., Held]] = dict.fromkeys(
    "max_pool2d_with_indices max_pool3d_with_indices max_pool1d_with_indices avg_pool1d avg_pool2d avg_pool3d "
    "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d adaptive_max_pool2d adaptive_max_pool3d "
    "adaptive_max_pool1d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_bilinear2d "
    "upsample_linear1d".split(),
    _window,
)
WINDOWS |= {"constant_pad_nd": _pad, "im2col": _unfolded}
PLACES: dict[str, Callable[..., Held]] = {
    **dict.fromkeys("index index_select embedding".split(), _indexed),
    "gather": _gather,
    **dict.fromkeys("scatter scatter_add".split(), _scatter),
    "scatter_": _scatter_number,
    **dict.fromkeys("fill_ zero_".split(), _fill),
    "copy_": _copy,
    **dict.fromkeys("index_put_ index_put _index_put_impl_".split(), _put),
    **dict.fromkeys("index_copy_ index_copy index_add_ index_add".split(), _index_write),
    **dict.fromkeys("zeros_like ones_like empty_like full_like rand_like".split(), _like),
}

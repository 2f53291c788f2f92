"""What each ATen operator does when some elements of its tensors are removed, by definition.

- An operator that moves values moves the twins in the same way.
- A pointwise result is kept where all of its operands are, and zero elsewhere.
- A product sums over what is kept; a result is kept where anything came into it.
- A mean, a maximum, a softmax, a norm are those of the kept elements: written out by arithmetic on twins.

Twins are tensors of zeros and ones, in float64.
"""

from __future__ import annotations

from typing import Any

import torch
from fuzz_held import ATEN, Held, Unknown, cleared, ones, safe, zeroed
from fuzz_masks_places import PLACES, PRODUCTS, WINDOWS
from fuzz_masks_sums import NORMS, REDUCTIONS
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

__all__ = ["held"]


def held(func: Any, values: Any, twins: Any) -> Held:
    """The result of an operator on masked values."""
    (args, kwargs), (masks, named) = values, twins
    name = func._schema.name.removeprefix("aten::")
    whole = all(bool(leaf.all()) for leaf in tree_leaves(twins) if isinstance(leaf, Tensor))
    if name in (
        "transpose_",
        "as_strided_",
        "t_",
        "squeeze_",
        "unsqueeze_",
    ):  # another view under the old name
        func = getattr(ATEN, name[:-1])
        return Held(func(*args, **kwargs), _moved(func, masks, named))
    if name in MOVES:
        return Held(func(*args, **kwargs), _moved(func, masks, named))
    if name in CREATES:
        value = func(*args, **kwargs)
        return Held(value, ones(value))
    if whole:
        value = func(*args, **kwargs)
        if value is args[0]:
            return Held(value, masks[0])
        return Held(value, tree_map_only(Tensor, lambda leaf: ones(leaf), value))
    rule = RULES.get(name)
    if rule is not None:
        return rule(func, args, kwargs, masks, named)
    if name in POINTWISE or name.removesuffix("_") in POINTWISE:
        return _pointwise(func, name, args, kwargs, masks, named)
    raise Unknown(name)


def _moved(func: Any, masks: Any, named: Any) -> Any:
    """The operator on twins, which keep their dtype."""
    return func(*masks, **{key: item for key, item in named.items() if key not in ("dtype",)})


def _pointwise(func: Any, name: str, args: Any, kwargs: Any, masks: Any, named: Any) -> Held:
    mask = None
    for leaf in (leaf for leaf in tree_leaves(masks) if isinstance(leaf, Tensor)):
        mask = leaf if mask is None else mask * leaf
    assert mask is not None
    if not name.endswith("_"):
        with torch.no_grad():
            plain = func(*args, **kwargs)
        plain = cleared(plain[0] if isinstance(plain, tuple) else plain, mask).plain
        flat, spec = tree_flatten((args, kwargs))
        twins = tree_leaves((masks, named), is_leaf=lambda leaf: leaf is None)
        given = [safe(a, m) if isinstance(a, Tensor) else a for a, m in zip(flat, twins, strict=True)]
        args, kwargs = tree_unflatten(given, spec)
        value = func(*args, **kwargs)
        if isinstance(value, tuple):  # with what its derivative needs
            return Held((zeroed(value[0], mask), *value[1:]), (mask, *map(ones, value[1:])), plain)
        mask = mask.expand(value.shape).clone()
        return Held(zeroed(value, mask), mask, plain)
    target, twin = args[0], masks[0]
    mask = mask.expand(target.shape)
    result = _pointwise(getattr(ATEN, name[:-1]), name[:-1], args, kwargs, masks, named)
    target.copy_(result.value)
    twin.copy_(mask.clone())
    return Held(target, twin, result.plain)


MOVES = set(
    "view _unsafe_view reshape _reshape_alias permute transpose t unsqueeze squeeze expand slice select split "
    "split_with_sizes unsafe_split unbind cat stack clone detach alias _to_copy flip roll repeat unfold diagonal "
    "pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle as_strided lift_fresh lift_fresh_copy "
    "reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d "
    "movedim _unsafe_index".split()
)
CREATES = set(
    "arange zeros ones empty full scalar_tensor linspace new_zeros new_ones new_empty new_full eye".split()
)
POINTWISE = set(
    "add sub mul div neg abs exp sin cos tanh sigmoid relu gelu silu clamp clamp_min clamp_max pow square sqrt rsqrt "
    "reciprocal log erf where maximum minimum softplus leaky_relu elu hardtanh hardswish hardsigmoid mish celu prelu "
    "log_sigmoid_forward gt lt ge le eq ne logical_not logical_and logical_or bitwise_not bitwise_and bitwise_or "
    "masked_fill addcmul addcdiv lerp triu tril rsub _prelu_kernel log1p expm1 floor round sign selu remainder fmod "
    "atan2 threshold isnan isfinite".split()
)
RULES = {**REDUCTIONS, **NORMS, **PRODUCTS, **WINDOWS, **PLACES}

"""Operators that average, normalise or compare along an axis: here they see only what is kept of it.

For most operators "removed" can be said by zeros: a sum over removed units adds zeros. A mean or a softmax over zeros
would be another number, so these operators run on the kept part of their tensors, and their results are put back into
zeros. Which parts of the other tensors go with the first one follows from what the operator computes. Its rule is not
asked, since the rule may be wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from graphprune.axes.rules.users import find_likeness

__all__ = ["is_restricted", "run_restricted"]

Arguments = dict[str, Any]


Masks = dict[str, Tensor]
# an operator's arguments on their kept parts, and the positions that its results take
Cut = tuple[Arguments, Tensor]


def is_restricted(op: str) -> bool:
    """Whether an operator such as ``aten.softmax.int`` works along an axis in that way."""
    likeness = find_likeness(op)
    return _find(op if likeness is None else likeness.op) is not None


def run_restricted(op: str, operator: Any, given: Arguments, masks: Masks) -> Any:
    """``operator`` on the kept parts of its tensors, its results put back into zeros of their full shape.

    Args:
        given: the operator's arguments by name, at full size.
        masks: kept positions of every tensor argument, of the tensor's shape.

    Raises:
        RuntimeError: the kept parts do not belong together.
    """
    likeness = find_likeness(op)
    if likeness is not None:  # the user says what it computes

        def as_other(**cut: Any) -> Any:
            return operator(**{**given, **likeness.own(cut)})

        return run_restricted(likeness.op, as_other, likeness.arguments(given), likeness.given(masks))
    cutter = _find(op)
    assert cutter is not None
    arguments, landing = cutter(given, masks)
    result = operator(**arguments)
    if isinstance(result, tuple | list):
        return type(result)(_put(item, landing) for item in result)
    return _put(result, landing)


def _find(op: str) -> Callable[[Arguments, Masks], Cut] | None:
    _, name, overload = op.split(".") if op.count(".") == 2 else ("", op, "")
    return None if overload == "other" else _CUTTERS.get(name)


def _take(value: Tensor, mask: Tensor) -> Tensor:
    """The part of ``value`` under ``mask``; inner dimensions may keep other positions for each outer one."""
    mask = mask.expand(value.shape)
    if bool(mask.all()):
        return value
    shape = []
    for dim in range(value.dim()):
        inner = list(range(dim + 1, value.dim()))
        shape.append(int((mask.any(inner) if inner else mask).sum(dim).max()))
    return value[mask].reshape(shape)


def _put(part: Tensor, landing: Tensor) -> Tensor:
    if part.numel() != int(landing.sum()):
        raise RuntimeError(f"a result of {part.numel()} elements for {int(landing.sum())} kept positions")
    return torch.zeros(landing.shape, dtype=part.dtype).masked_scatter_(landing, part)


def _pointwise(given: Arguments, masks: Masks) -> Cut:
    """Results stand where the inputs stood."""
    return {**given, "self": _take(given["self"], masks["self"])}, masks["self"]


def _reduction(given: Arguments, masks: Masks) -> Cut:
    """Results stand where anything was left to reduce."""
    mask = masks["self"]
    dims = given.get("dim")
    dims = list(range(mask.dim())) if dims is None or dims == [] else dims
    dims = [dims] if isinstance(dims, int) else list(dims)
    landing = mask.any(dims, keepdim=bool(given.get("keepdim", False))) if mask.dim() else mask
    return {**given, "self": _take(given["self"], mask)}, landing


def _trailing_norm(given: Arguments, masks: Masks) -> Cut:
    """Weight and bias go with the trailing dimensions of the input."""
    mask, width = masks["input"], len(given["normalized_shape"])
    part = _take(given["input"], mask)
    own = mask.flatten(0, -width - 1).any(0) if mask.dim() > width else mask
    arguments = {**given, "input": part, "normalized_shape": list(part.shape[-width:])}
    return arguments | _along(given, own, "weight", "bias"), mask


def _channel_norm(given: Arguments, masks: Masks) -> Cut:
    """Weight, bias and statistics go with the channels of the input, dimension 1."""
    mask = masks["input"]
    own = mask.transpose(0, 1).flatten(1).any(1)
    arguments = {**given, "input": _take(given["input"], mask)}
    arguments |= _along(given, own, "weight", "bias", "running_mean", "running_var")
    if "num_groups" in given:
        counts = own.reshape(given["num_groups"], -1).sum(1)
        if len(counts[counts > 0].unique()) > 1:
            raise RuntimeError(f"groups of {counts.tolist()} kept channels, which should be equally many")
        arguments["num_groups"] = int((counts > 0).sum())
    return arguments, mask


def _along(given: Arguments, own: Tensor, *names: str) -> Arguments:
    """The arguments of these names that are tensors, each cut by the mask ``own``."""
    return {name: _take(given[name], own) for name in names if isinstance(given.get(name), Tensor)}


def _attention(given: Arguments, masks: Masks) -> Cut:
    """Keys and values go with the heads of the queries, keys with their width, values with the keys' positions.

    Keys and values may have fewer heads than queries, each for a run of them.
    """
    query, key, value = given["query"], given["key"], given["value"]
    rows = masks["query"].any(-1)
    width = _per_head(masks["query"].any(-2), key)
    heads = _per_head(rows.any(-1, keepdim=True), value)
    positions = masks["key"].flatten(0, -3).any(0).any(-1)
    columns = masks["value"].any(-2)
    arguments = {
        **given,
        "query": _take(query, masks["query"]),
        "key": _take(key, width.unsqueeze(-2) & positions[:, None]),
        "value": _take(value, (heads & columns).unsqueeze(-2) & positions[:, None]),
    }
    if given.get("scale") is None:
        arguments["scale"] = query.shape[-1] ** -0.5
    if isinstance(given.get("attn_mask"), Tensor):
        pairs = rows.unsqueeze(-1) & positions
        arguments["attn_mask"] = _take(given["attn_mask"], _broadcast_back(pairs, given["attn_mask"]))
    runs = [q // max(v, 1) for q, v in zip(query.shape[:-2], value.shape[:-2], strict=True)]
    for dim, run in enumerate(runs):
        columns = columns.repeat_interleave(run, dim)
    return arguments, rows.unsqueeze(-1) & columns.unsqueeze(-2)


def _per_head(mask: Tensor, other: Tensor) -> Tensor:
    """``mask`` [*heads, n] for the heads of ``other``, each of which serves a run of them."""
    for dim in range(mask.dim() - 1):
        mask = mask.unflatten(dim, (other.shape[dim], -1)).any(dim + 1)
    return mask


def _broadcast_back(mask: Tensor, smaller: Tensor) -> Tensor:
    """``mask`` reduced to the shape of a tensor that broadcasts to it."""
    while mask.dim() > smaller.dim():
        mask = mask.any(0)
    for dim, size in enumerate(smaller.shape):
        if size == 1:
            mask = mask.any(dim, keepdim=True)
    return mask


_CUTTERS: dict[str, Callable[[Arguments, Masks], Cut]] = {
    **dict.fromkeys(
        "mean amax amin var std logsumexp prod norm linalg_vector_norm std_mean var_mean all max min".split(),
        _reduction,
    ),
    **dict.fromkeys("softmax log_softmax _softmax _log_softmax".split(), _pointwise),
    **dict.fromkeys(("layer_norm", "rms_norm"), _trailing_norm),
    **dict.fromkeys(("group_norm", "batch_norm", "instance_norm"), _channel_norm),
    "scaled_dot_product_attention": _attention,
}

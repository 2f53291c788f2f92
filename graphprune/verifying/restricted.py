"""Operators that average, normalise or compare along an axis: here they see only what is kept of it.

For most operators "removed" can be said by zeros: a sum over removed units adds zeros. A mean or a softmax over zeros
would be another number, so these operators run on the kept part of their tensors, and their results are put back into
zeros. Which parts of the other tensors go with the first one follows from what the operator computes. Its rule is not
asked, since the rule may be wrong.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from graphprune.axes.rules.users import find_likeness
from graphprune.planning.region import by_dimension

__all__ = ["is_restricted", "run_restricted", "stays_zero"]

Arguments = dict[str, Any]


Masks = dict[str, Tensor]
# an operator's arguments on their kept parts, and the positions that its results take
Cut = tuple[Arguments, Tensor]


def is_restricted(op: str) -> bool:
    """Whether an operator such as ``aten.softmax.int`` works along an axis in that way."""
    likeness = find_likeness(op)
    return _find(op if likeness is None else likeness.op) is not None


def stays_zero(op: str, given: Arguments) -> bool:
    """Whether a restricted operator gives finite numbers on zeros, and nothing of them to what is kept.

    A batch norm treats each channel by itself. Without an epsilon zeros would be divided by zero.
    """
    return op.startswith("aten.batch_norm") and bool(given.get("eps"))


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
    rows = _rows(mask)
    if rows is not None:
        for dim, kept in rows.items():
            value = value.index_select(dim, kept)
        return value
    shape = []
    for dim in range(value.dim()):
        inner = list(range(dim + 1, value.dim()))
        shape.append(int((mask.any(inner) if inner else mask).sum(dim).max()))
    return value[mask].reshape(shape)


def _put(part: Tensor, landing: Tensor) -> Tensor:
    """Zeros of the full shape with ``part`` in them; dimensions that ``landing`` lacks follow, and are whole."""
    landing = _spread(landing, landing.shape + part.shape[landing.dim() :])
    if part.numel() != int(landing.sum()):
        raise RuntimeError(f"a result of {part.numel()} elements for {int(landing.sum())} kept positions")
    rows = _rows(landing)
    if rows is None:
        return torch.zeros(landing.shape, dtype=part.dtype).masked_scatter_(landing, part)
    part = part.reshape([len(rows[dim]) if dim in rows else size for dim, size in enumerate(landing.shape)])
    for dim, kept in rows.items():
        shape = (*part.shape[:dim], landing.shape[dim], *part.shape[dim + 1 :])
        part = torch.zeros(shape, dtype=part.dtype).index_copy(dim, kept, part)
    return part


def _rows(mask: Tensor) -> dict[int, Tensor] | None:
    """The kept indices of each dimension that is not whole; None where they differ along other dimensions."""
    kept = by_dimension(_small(mask))
    return None if kept is None else {dim: one.nonzero().flatten() for dim, one in kept.items()}


def _small(mask: Tensor) -> Tensor:
    """A mask that was expanded, before it was."""
    for dim, stride in enumerate(mask.stride()):
        if not stride and mask.shape[dim] > 1:
            mask = mask.narrow(dim, 0, 1)
    return mask


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


def _matrix(given: Arguments, masks: Masks) -> Cut:
    """The norm of a matrix: of the last two dimensions, if no others are named."""
    arguments, landing = _reduction({"dim": [-2, -1], **given}, masks)
    return {**given, "self": arguments["self"]}, landing


def _quantile(given: Arguments, masks: Masks) -> Cut:
    """Several quantiles stand in a first dimension of their own."""
    arguments, landing = _reduction(given, masks)
    wanted = given["q"]
    if not isinstance(wanted, Tensor) or not wanted.dim():
        return arguments, landing
    first = masks["q"].reshape(-1, *(1,) * landing.dim())
    return arguments | {"q": _take(wanted, masks["q"])}, first & landing


def _matrices(given: Arguments, masks: Masks) -> Cut:
    """Whole matrices are left out; a matrix of zeros would have no inverse."""
    first = next(mask for mask in masks.values())
    lead = first.flatten(-2).any(-1)
    same = [name for name, mask in masks.items() if mask.shape[: lead.dim()] == lead.shape]
    return {**given, **{name: _take(given[name], _spread(lead, given[name].shape)) for name in same}}, lead


def _spread(mask: Tensor, shape: torch.Size) -> Tensor:
    """A mask of the first dimensions as one of all."""
    return mask.reshape(mask.shape + (1,) * (len(shape) - mask.dim())).expand(shape)


def _places(given: Arguments, masks: Masks) -> Cut:
    """A loss: place by place, of tensors that are broadcast; then perhaps reduced to one number."""
    arguments = {**given, **{name: _take(given[name], mask) for name, mask in masks.items()}}
    together = functools.reduce(torch.logical_and, masks.values())
    reduced = given.get("reduction", 1) if "p" not in given or "reduction" in given else 1
    return arguments, together if reduced == 0 else together.new_ones(())


def _vectors(given: Arguments, masks: Masks) -> Cut:
    """Distances of vectors along the last dimension: nothing is computed of those that are gone."""
    arguments = {**given, **{name: _take(given[name], mask) for name, mask in masks.items()}}
    vectors = [mask for name, mask in masks.items() if name != "target"]
    together = functools.reduce(torch.logical_and, vectors)
    landing = together.any(-1, keepdim=bool(given.get("keepdim", False)))
    return arguments, landing if given.get("reduction", 0) == 0 else landing.new_ones(())


def _classes(given: Arguments, masks: Masks) -> Cut:
    """Scores of all classes for the positions that are left."""
    mask = masks["self"]
    along = min(mask.dim() - 1, 1)
    landing = mask.any(along)
    arguments = {**given, "self": _take(given["self"], mask)}
    arguments["target"] = _take(given["target"], masks["target"])
    return arguments, landing if given.get("reduction", 1) == 0 else landing.new_ones(())


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


_REDUCTIONS = (
    "mean amax amin var std logsumexp prod norm linalg_vector_norm std_mean var_mean all max min aminmax nanmean "
    "median nanmedian"
)
_MATRICES = (
    "cholesky cholesky_inverse cholesky_solve geqrf linalg_cholesky linalg_cholesky_ex linalg_cond linalg_det "
    "linalg_eig linalg_eigh linalg_eigvals linalg_eigvalsh linalg_householder_product linalg_inv linalg_inv_ex "
    "linalg_ldl_factor linalg_ldl_factor_ex linalg_ldl_solve linalg_lu linalg_lu_factor "
    "linalg_lu_factor_ex linalg_lu_solve linalg_matrix_exp linalg_matrix_power linalg_matrix_rank linalg_pinv "
    "linalg_qr linalg_slogdet linalg_solve linalg_solve_ex linalg_solve_triangular linalg_svd linalg_svdvals "
    "_lu_with_info logdet lu_solve lu_unpack ormqr pinverse qr svd triangular_solve"
)
_LOSSES = (
    "mse_loss l1_loss smooth_l1_loss huber_loss kl_div binary_cross_entropy binary_cross_entropy_with_logits "
    "soft_margin_loss poisson_nll_loss margin_ranking_loss hinge_embedding_loss dist"
)
_SCORES = "cross_entropy_loss nll_loss nll_loss2d nll_loss_nd multi_margin_loss multilabel_margin_loss"

_CUTTERS: dict[str, Callable[[Arguments, Masks], Cut]] = {
    **dict.fromkeys(_REDUCTIONS.split(), _reduction),
    **dict.fromkeys(_MATRICES.split(), _matrices),
    **dict.fromkeys(_LOSSES.split(), _places),
    **dict.fromkeys(_SCORES.split(), _classes),
    **dict.fromkeys("pairwise_distance triplet_margin_loss cosine_embedding_loss".split(), _vectors),
    **dict.fromkeys("quantile nanquantile".split(), _quantile),
    **dict.fromkeys("linalg_matrix_norm nuclear_norm".split(), _matrix),
    "linalg_norm": _reduction,
    **dict.fromkeys("softmax log_softmax _softmax _log_softmax renorm".split(), _pointwise),
    **dict.fromkeys(("layer_norm", "rms_norm"), _trailing_norm),
    **dict.fromkeys(("group_norm", "batch_norm", "instance_norm"), _channel_norm),
    "scaled_dot_product_attention": _attention,
}

"""Attention, as one node: ONNX's since opset 23, and onnxruntime's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from graphprune.importing.node import ForeignError, Node, Operator

__all__ = ["OPERATORS"]


def _parted(x: Tensor, heads: int) -> Tensor:
    """``[batch, length, heads · size]`` as ``[batch, heads, length, size]``."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _added(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one + other


def _hiding(where: Tensor, lowest: float, like: Tensor) -> Tensor:
    """A bias that hides scores, in the dtype of another tensor, of which no part is read: that would part its axes."""
    return torch.where(where, lowest, 0.0).to(like.dtype)


def _mixed(node: Node, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool) -> Tensor:
    """Softmax of the scaled scores plus ``bias``, times the values."""
    scale = node["scale"] or None
    if causal:  # the last query may see all keys, of which there may be more
        rows = torch.arange(q.shape[2], device=q.device)[:, None] + (k.shape[2] - q.shape[2])
        columns = torch.arange(k.shape[2], device=q.device)
        bias = _added(bias, _hiding(columns > rows, _lowest(node), q))
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(q, k, v, bias, scale=scale, enable_gqa=grouped)


def _lowest(node: Node) -> float:
    """What stands for a score that may not be seen."""
    return -1e4 if node["mask_filter_value"] is None else float(node["mask_filter_value"])


def _padding(node: Node, mask: Tensor | None, length: Any, like: Tensor) -> Tensor | None:
    """The bias of keys that may not be seen: ``mask`` says for each, or how many of each row may be."""
    if mask is None:
        return None
    if mask.dim() == 1:
        seen = torch.arange(length, device=mask.device) < mask[:, None]
    elif mask.dim() == 2:
        seen = mask > 0
    else:
        raise node.refusal(f"its mask has {mask.dim()} dimensions", kind=ForeignError)
    return _hiding(~seen[:, None, None], _lowest(node), like)


def _check(node: Node, *given: Any, outputs: int = 1, without: Sequence[str] = ()) -> None:
    """Raises ForeignError where more is given, or asked for, or one of these attributes is set."""
    names = [name for name in without if node[name] not in (None, 0, -1)]
    if any(item is not None for item in given) or any(node.outputs[outputs:]) or names:
        raise node.refusal("it does more than PyTorch's attention", kind=ForeignError)


def _all(given: Sequence[Any], count: int) -> list[Any]:
    """So many inputs, None in the place of those that are left out at the end."""
    return [*given, *[None] * (count - len(given))]


def _packed(node: Node, *given: Any) -> Tensor:
    """onnxruntime's Attention: queries, keys and values come from one product."""
    x, weight, bias, mask, past, added, *more = _all(given, 6)
    _check(node, past, *more, without=["do_rotary"])
    each = weight.shape[1] // 3
    sizes = list(node["qkv_hidden_sizes"] or (each, each, each))
    product = torch.matmul(x, weight)
    parts = (product if bias is None else product + bias).split(sizes, -1)
    q, k, v = (_parted(part, node["num_heads"]) for part in parts)
    seen = _added(_padding(node, mask, x.shape[1], q), added)
    return _joined(_mixed(node, q, k, v, seen, bool(node["unidirectional"])))


def _multi_head(node: Node, *given: Any) -> Tensor:
    """onnxruntime's MultiHeadAttention: projected already, their biases in one vector."""
    q, k, v, bias, mask, added, *more = _all(given, 6)
    _check(node, *more)
    if k is None or v is None or k.dim() != 3 or v.dim() != 3:  # packed, or with their heads apart
        raise node.refusal("its keys and values do not come as queries do", kind=ForeignError)
    if bias is not None:
        parts = bias.split([q.shape[2], k.shape[2], v.shape[2]])
        q, k, v = (item + part for item, part in zip((q, k, v), parts, strict=True))
    q, k, v = (_parted(item, node["num_heads"]) for item in (q, k, v))
    seen = _added(_padding(node, mask, k.shape[2], q), added)
    return _joined(_mixed(node, q, k, v, seen, bool(node["unidirectional"])))


def _attention(node: Node, *given: Any) -> Any:
    """ONNX's Attention, of opset 23 on."""
    q, k, v, mask, past_k, past_v, *more = _all(given, 6)
    _check(
        node, *more, outputs=3, without=["softcap", *(name for name in node.attributes if "window" in name)]
    )
    flat = q.dim() == 3
    if flat:
        q = _parted(q, node["q_num_heads"])
        k, v = (_parted(item, node["kv_num_heads"]) for item in (k, v))
    if past_k is not None:
        k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
    seen = mask
    if mask is not None and mask.dtype == torch.bool:
        seen = _hiding(~mask, float("-inf"), q)
    causal = None
    if node["is_causal"]:
        rows = torch.arange(q.shape[2], device=q.device)[:, None] + (0 if past_k is None else past_k.shape[2])
        later = torch.arange(k.shape[2], device=q.device) > rows
        causal = _hiding(later, float("-inf"), q)
    mixed = _mixed(node, q, k, v, _added(seen, causal), causal=False)
    return (_joined(mixed) if flat else mixed, k, v)[: len(node.outputs)]


OPERATORS = {
    "Attention": Operator(_attention),
    "com.microsoft.Attention": Operator(_packed),
    "com.microsoft.MultiHeadAttention": Operator(_multi_head),
}

"""What nodes of attention say in numbers of their own: how many heads there are, how wide, and the old scale."""

from __future__ import annotations

from typing import Any

from graphprune.axes.terms import Product, Term
from graphprune.planning.masks import Masks
from graphprune.slicing.site import Changes, Site

__all__ = ["ATTENTION", "outer_size"]


def _heads(site: Site, term: Term | None, count: int) -> int:
    """How many heads are left in an axis of ``count`` heads of one size each."""
    if term is None:
        raise site.step.node.refusal("the axes of its heads are not known")
    left = outer_size(term, count, site.masks) if site.masks.touches(term) else count
    if not left:
        raise site.step.node.refusal(f"its {count} heads are no part of the axis that is cut")
    return left


def outer_size(term: Term, count: int, masks: Masks) -> int:
    """How many are left of the outer ``count`` of an axis; 0 where these are no part of it."""
    old = new = 1
    for part in term.parts if isinstance(term, Product) else (term,):
        if old == count:
            break
        old, new = old * part.size, new * masks.size(part)
    return new if old == count else 0


def _set(site: Site, changes: Changes, name: str, value: int) -> None:
    if site.step.node[name] != value:
        changes.attributes[name] = value


def _scale(site: Site, changes: Changes, old: int, new: int) -> None:
    """Scores are scaled by the root of the old size of a head."""
    if old != new and not site.step.node["scale"]:
        changes.attributes["scale"] = float(old) ** -0.5


def _packed(site: Site, changes: Changes) -> None:
    """Queries, keys and values come from one matrix: the values are as wide as the output."""
    node, out = site.step.node, site.made(-1)
    count, total = node["num_heads"], site.args[1].shape[1]
    heads = _heads(site, out, count)
    assert out is not None
    values = site.masks.size(out)
    queries = (total - values) // 2
    was = list(node["qkv_hidden_sizes"] or [out.size] * 3)
    _set(site, changes, "num_heads", heads)
    sizes = [queries, queries, values]
    if sizes != was and (node["qkv_hidden_sizes"] or queries != values):
        changes.attributes["qkv_hidden_sizes"] = sizes
    _scale(site, changes, was[0] // count, queries // heads)


def _multi_head(site: Site, changes: Changes) -> None:
    node, queries = site.step.node, site.term(-1)
    count = node["num_heads"]
    heads = _heads(site, site.made(-1), count)
    _set(site, changes, "num_heads", heads)
    if queries is not None:
        _scale(site, changes, queries.size // count, site.args[0].shape[2] // heads)


def _own(site: Site, changes: Changes) -> None:
    """ONNX's. Of four dimensions the heads are one."""
    node, queries = site.step.node, site.term(-1)
    if queries is None or not any(map(_touches(site), (queries, site.term(-1, 1), site.term(-1, 2)))):
        return
    if site.rank == 4:
        _scale(site, changes, queries.size, site.args[0].shape[3])
        return
    counts = {"q_num_heads": queries, "kv_num_heads": site.term(-1, 1)}
    heads = {name: _heads(site, term, node[name]) for name, term in counts.items()}
    for name, count in heads.items():
        _set(site, changes, name, count)
    _scale(site, changes, queries.size // node["q_num_heads"], site.args[0].shape[2] // heads["q_num_heads"])


def _touches(site: Site) -> Any:
    return lambda term: term is not None and site.masks.touches(term)


ATTENTION = {
    "Attention": _own,
    "com.microsoft.Attention": _packed,
    "com.microsoft.MultiHeadAttention": _multi_head,
}

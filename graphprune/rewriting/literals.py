"""New literals for operators whose arguments mention sizes, counts or offsets of axes that changed.

One row of a table per operator: it gives the arguments that change, by the names of the operator's schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from math import prod
from typing import Any

import torch

from graphprune.axes.analysis import Analysis
from graphprune.axes.rules.users import find_likeness
from graphprune.axes.terms import Term
from graphprune.capture.operations import Operation, Value
from graphprune.planning.masks import Masks
from graphprune.rewriting.sizes import resized

__all__ = ["NewCall", "new_call"]

Changes = dict[str, Any]


@dataclass(frozen=True)
class NewCall:
    """What becomes of an operator's call.

    Args:
        arguments: those that change, by the names of the operator's schema; none if the call stays as it is.
        target: the operator that takes its place, where its own arguments cannot say what is wanted. It is called with
            the operator's first tensor and ``arguments``.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    target: Callable[..., Any] | None = None


@dataclass(frozen=True)
class _Site:
    """One operator of the original graph under a choice of kept positions.

    ``raw`` are the node's own arguments by schema name (with fx nodes where a size is dynamic).
    """

    operation: Operation
    raw: Mapping[str, Any]
    terms: Mapping[str, tuple[Term, ...]]
    masks: Masks

    def term(self, value: Value, dim: int) -> Term:
        return self.terms[value.name][dim]

    def argument(self, name: str) -> Value:
        value = self.operation.arguments[name]
        assert isinstance(value, Value)
        return value

    @property
    def output(self) -> Value:
        return self.operation.outputs[0]

    def shape(self, value: Value) -> list[int]:
        """The new shape; batch primes stay in it."""
        return [self.masks.size(term) for term in self.terms[value.name]]

    def resized(self, literal: Any, term: Term) -> Any:
        """A literal that is the size of ``term``, as one of its new size; see `resized`."""
        return resized(literal, term, self.masks)

    def moved(self, value: Value, dim: int, place: int) -> int:
        """A literal that is a position of a dimension, counted from the same end as before.

        What is removed on the other side of it does not count, so a dimension may grow there.
        """
        size = value.shape[dim]
        at = min(max(place + size if place < 0 else place, 0), size)
        kept = self.kept_before(value, dim, at)
        return (
            place - (at - kept)
            if place >= 0
            else place + size - at - (self.kept_before(value, dim, size) - kept)
        )

    def kept_before(self, value: Value, dim: int, offset: int) -> int:
        """How many of the first ``offset`` positions of a dimension are kept (as many for every fibre)."""
        mask, fibre = self.masks.opened(self.term(value, dim))
        return int((mask if fibre is None else mask[0])[:offset].sum())


_Rule = Callable[[_Site], Changes]


def _along_dim(rule: Callable[[_Site, Value, int], Changes]) -> _Rule:
    """A rule for operators that take positions along ``dim``: where nothing is removed there, nothing changes."""

    def literal(site: _Site) -> Changes:
        source = next(site.operation.inputs)
        dim = site.operation.arguments.get("dim", 0) % len(source.shape)
        return rule(site, source, dim) if site.masks.touches(site.term(source, dim)) else {}

    return literal


# arguments that list sizes of the output
_SHAPES = ("size", "shape", "sizes", "output_size", "normalized_shape")


def _shape(site: _Site) -> Changes:
    """Sizes of the output: those from ``dim`` on, where there is such an argument, or the last."""
    name = next((name for name in _SHAPES if name in site.raw), None)
    if name is None:  # an overload that names no shape
        return {}
    given, source = list(site.raw[name]), next(site.operation.inputs, None)
    start = len(site.output.shape) - len(given)
    if source is not None and "dim" in site.operation.arguments:
        start = site.operation.arguments["dim"] % len(source.shape)
    terms = site.terms[site.output.name]
    return {name: [site.resized(literal, terms[start + n]) for n, literal in enumerate(given)]}


def _repeat(site: _Site) -> Changes:
    name = "repeats" if "repeats" in site.raw else "dims"
    given = list(site.raw[name])
    sizes = (site.shape(site.argument("self")), site.shape(site.output))
    rank = max(len(given), *map(len, sizes))
    source, result = ([1] * (rank - len(size)) + size for size in sizes)
    given = [1] * (rank - len(given)) + given
    times = (r // s for r, s in zip(result, source, strict=True))
    return {name: [new if isinstance(old, int) else old for old, new in zip(given, times, strict=True)]}


def _repeat_interleave(site: _Site) -> Changes:
    if not isinstance(site.raw["repeats"], int):
        is_number = isinstance(site.operation.arguments["repeats"], int)
        return {"output_size": None} if is_number else {}
    source, result = site.shape(site.argument("self")), site.shape(site.output)
    dim = site.operation.arguments.get("dim")
    times = prod(result) // prod(source) if dim is None else result[dim] // source[dim]
    return {"repeats": times, "output_size": None}


@_along_dim
def _split(site: _Site, source: Value, dim: int) -> Changes:
    """Parts may have become unequal, so this is a call of ``split_with_sizes``. So many equal parts stay so many.

    Where the last part is what is left, which may vary, the others are said by their places, as in ``tensor_split``.
    """
    parts = site.operation.outputs
    sizes = [site.shape(part)[dim] for part in parts]
    if isinstance(site.raw.get("indices"), list | tuple):
        return {"indices": [site.moved(source, dim, at) for at in site.raw["indices"]], "dim": dim}
    if isinstance(site.raw.get("split_size"), int) and parts[-1].shape[dim] < parts[0].shape[dim]:
        return {"indices": list(accumulate(sizes[:-1])), "dim": dim}
    counted = isinstance(site.raw.get("chunks", site.raw.get("sections")), int)
    if counted and len(set(sizes)) == len({part.shape[dim] for part in parts}) == 1:
        return {}
    return {"split_sizes": sizes, "dim": dim}


@_along_dim
def _slice(site: _Site, source: Value, dim: int) -> Changes:
    """Of ``slice``, whose result is the part, and of ``slice_scatter``, which is given the part."""
    given = {name: site.operation.arguments[name] for name in ("start", "end")}
    part = site.operation.arguments.get("src", site.output)
    if source.shape[dim] == part.shape[dim]:
        return {}
    if site.operation.arguments["step"] == 1:
        return {name: site.moved(source, dim, at) for name, at in given.items() if at is not None}
    start, _, _ = slice(*given.values()).indices(source.shape[dim])
    return {"start": start, "end": site.shape(source)[dim]}


@_along_dim
def _narrow(site: _Site, source: Value, dim: int) -> Changes:
    start, length = (site.operation.arguments[name] for name in ("start", "length"))
    if not isinstance(start, int):  # then all is kept, or nothing but the whole is taken
        return {"length": site.shape(source)[dim]}
    first = start % max(source.shape[dim], 1)
    kept = site.kept_before(source, dim, first + length) - site.kept_before(source, dim, first)
    return {"start": site.moved(source, dim, start), "length": kept}


@_along_dim
def _select(site: _Site, source: Value, dim: int) -> Changes:
    return {"index": site.moved(source, dim, site.operation.arguments["index"])}


def _roll(site: _Site) -> Changes:
    """As far as there are units left in what goes over the end."""
    source, shifts = site.argument("self"), list(site.raw["shifts"])
    for place, dim in enumerate(site.operation.arguments["dims"]):
        size, by = source.shape[dim], site.operation.arguments["shifts"][place]
        if site.masks.touches(site.term(source, dim)):
            left = site.kept_before(source, dim, size)
            shifts[place] = left - site.kept_before(source, dim, size - by % size)
    return {"shifts": shifts}


def _pad(site: _Site) -> Changes:
    amounts = list(site.raw["pad"])
    for pair in range(len(amounts) // 2):
        before, after = amounts[2 * pair], amounts[2 * pair + 1]
        dim = len(site.output.shape) - 1 - pair
        if (before or after) and site.masks.touches(site.term(site.output, dim)):
            size = site.output.shape[dim]
            amounts[2 * pair] = site.kept_before(site.output, dim, before)
            total = site.kept_before(site.output, dim, size)
            amounts[2 * pair + 1] = total - site.kept_before(site.output, dim, size - after)
    return {"pad": amounts}


def _attention(site: _Site) -> Changes:
    """The scale is derived from the heads' width: when that shrinks, the old scale stays as a literal."""
    query = site.argument("query")
    if site.operation.arguments.get("scale") is not None or not site.masks.touches(site.term(query, -1)):
        return {}
    return {"scale": query.shape[-1] ** -0.5}


# rule ← names of ATen operators
_LITERALS: dict[str, _Rule] = {
    f"aten.{name}": rule
    for names, rule in (
        ("view reshape _unsafe_view unflatten expand broadcast_to sum_to_size layer_norm rms_norm", _shape),
        ("zeros ones full empty new_zeros new_ones new_full new_empty", _shape),
        ("adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d", _shape),
        ("adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d", _shape),
        ("repeat tile", _repeat),
        ("repeat_interleave", _repeat_interleave),
        ("chunk split split_with_sizes tensor_split unsafe_chunk", _split),
        ("slice slice_scatter", _slice),
        ("narrow", _narrow),
        ("roll", _roll),
        ("select select_scatter", _select),
        ("pad constant_pad_nd", _pad),
        ("scaled_dot_product_attention", _attention),
    )
    for name in names.split()
}

# an argument → the operator that has it, which a call becomes that gets it
_BECOMES = {
    "split_sizes": torch.ops.aten.split_with_sizes.default,
    "indices": torch.ops.aten.tensor_split.indices,
}


def new_call(operation: Operation, raw: Mapping[str, Any], analysis: Analysis, masks: Masks) -> NewCall:
    """What becomes of ``operation``: by its row, else its rule says which of its arguments are sizes of axes.

    Args:
        raw: the node's own arguments by schema name, with fx nodes where a size is dynamic.
    """
    values = (*operation.inputs, *operation.outputs)
    if not any(masks.touches(term) for value in values for term in analysis.terms[value.name]):
        return NewCall()
    changes = _by_row(_Site(operation, raw, analysis.terms, masks))
    if changes is None:
        sizes = analysis.sizes.get(operation.name, {})
        changes = {
            name: resized(raw.get(name, 0), term, masks)
            for name, term in sizes.items()
            if masks.touches(term)
        }
    other = _BECOMES.get(next(iter(changes), "")) if operation.family in _LITERALS else None
    return NewCall(changes, other)


def _by_row(site: _Site) -> Changes | None:
    """What the row of the operator says, or of the one it behaves as; None if there is no row."""
    likeness = find_likeness(site.operation.op)
    if likeness is None:
        row = _LITERALS.get(site.operation.family)
        return None if row is None else row(site)
    other = replace(site, operation=likeness.operation(site.operation), raw=likeness.given(site.raw))
    changes = _by_row(other)
    return None if changes is None else likeness.own(changes)

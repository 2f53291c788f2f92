"""New literals for operators whose arguments mention sizes, counts or offsets of axes that changed.

One row per operator: it returns the arguments that change, by the names of the operator's schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import gcd, prod
from typing import Any

from torch import fx

from graphprune.axes.analysis import Analysis
from graphprune.axes.rules.users import Likeness, find_likeness
from graphprune.axes.terms import Term
from graphprune.capture.operations import Operation, Value
from graphprune.planning.masks import Masks

__all__ = ["LITERALS", "Scaled", "Site", "find_literals", "new_literals"]

Changes = dict[str, Any]


@dataclass(frozen=True)
class Site:
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

    def kept_before(self, value: Value, dim: int, offset: int) -> int:
        """How many of the first ``offset`` positions of a dimension are kept (as many for every fibre)."""
        mask, fibre = self.masks.opened(self.term(value, dim))
        return int((mask if fibre is None else mask[0])[:offset].sum())


def _scaled(old_literal: Any, old: int, new: int) -> Any:
    """A literal of value ``old`` as one of value ``new``; -1 infers itself, a dynamic one is scaled."""
    if old == new or (isinstance(old_literal, int) and old_literal == -1):
        return old_literal
    if isinstance(old_literal, int):
        return new
    common = gcd(old, new)
    return Scaled(old_literal, new // common, old // common)


@dataclass(frozen=True)
class Scaled:
    """``node * times // parts``, to be computed in the graph."""

    node: fx.Node
    times: int
    parts: int


def _shape_of(argument: str) -> Callable[[Site], Changes]:
    def literal(site: Site) -> Changes:
        if argument not in site.raw:  # an overload that names no shape
            return {}
        old, new = site.output.shape, site.shape(site.output)
        given = list(site.raw[argument])
        lead = len(old) - len(given)
        return {argument: [_scaled(g, o, n) for g, o, n in zip(given, old[lead:], new[lead:], strict=True)]}

    return literal


def _unflatten(site: Site) -> Changes:
    given = list(site.raw["sizes"])
    first = site.operation.arguments["dim"] % len(site.argument("self").shape)
    new = site.shape(site.output)[first : first + len(given)]
    old = site.output.shape[first : first + len(given)]
    return {"sizes": [_scaled(g, o, n) for g, o, n in zip(given, old, new, strict=True)]}


def _repeat(name: str) -> Callable[[Site], Changes]:
    def literal(site: Site) -> Changes:
        given = list(site.raw[name])
        sizes = (site.shape(site.argument("self")), site.shape(site.output))
        rank = max(len(given), *map(len, sizes))
        source, result = ([1] * (rank - len(size)) + size for size in sizes)
        given = [1] * (rank - len(given)) + given
        times = (r // s for r, s in zip(result, source, strict=True))
        return {name: [new if isinstance(old, int) else old for old, new in zip(given, times, strict=True)]}

    return literal


def _repeat_interleave(site: Site) -> Changes:
    if not isinstance(site.raw["repeats"], int):
        return {}
    source, result = site.shape(site.argument("self")), site.shape(site.output)
    dim = site.operation.arguments.get("dim")
    times = prod(result) // prod(source) if dim is None else result[dim] // source[dim]
    return {"repeats": times, "output_size": None}


def _convolution(site: Site) -> Changes:
    weight = site.argument("weight")
    return {"groups": _channels(site, site.argument("input")) // site.shape(weight)[1]}


def _transposed_convolution(site: Site) -> Changes:
    weight = site.argument("weight")
    return {"groups": _channels(site, site.output) // site.shape(weight)[1]}


def _channels(site: Site, value: Value) -> int:
    """Channels stand before the dimensions in which the weight's window lies."""
    return site.shape(value)[1 - len(site.argument("weight").shape)]


def _channel_groups(argument: str, source: str) -> Callable[[Site], Changes]:
    def literal(site: Site) -> Changes:
        mask, fibre = site.masks.opened(site.term(site.argument(source), 1))
        row = mask if fibre is None else mask[0]
        return {argument: int(row.reshape(site.operation.arguments[argument], -1).any(1).sum())}

    return literal


def _normalized_shape(site: Site) -> Changes:
    width = len(site.operation.arguments["normalized_shape"])
    return {"normalized_shape": site.shape(site.argument("input"))[-width:]}


def _split(site: Site) -> Changes:
    """Parts of unequal sizes are what ``split_with_sizes`` is for; see `rewrite`."""
    source = next(site.operation.inputs)
    dim = site.operation.arguments.get("dim", 0) % len(source.shape)
    if not site.masks.touches(site.term(source, dim)):
        return {}
    return {"split_sizes": [site.shape(output)[dim] for output in site.operation.outputs], "dim": dim}


def _slice(site: Site) -> Changes:
    source = site.argument("self")
    dim = site.operation.arguments["dim"] % len(source.shape)
    whole = source.shape[dim] == site.output.shape[dim]
    if whole or not site.masks.touches(site.term(source, dim)):
        return {}
    size, step = source.shape[dim], site.operation.arguments["step"]
    start, end = (_clamped(site.operation.arguments[name], size) for name in ("start", "end"))
    if step == 1:
        end = size if end is None else end
        return {name: site.kept_before(source, dim, at) for name, at in (("start", start or 0), ("end", end))}
    return {"start": start or 0, "end": site.shape(source)[dim]}


def _clamped(index: int | None, size: int) -> int | None:
    if index is None:
        return None
    return min(max(index + size if index < 0 else index, 0), size)


def _narrow(site: Site) -> Changes:
    source = site.argument("self")
    dim = site.operation.arguments["dim"] % len(source.shape)
    if not site.masks.touches(site.term(source, dim)):
        return {}
    start, length = (site.operation.arguments[name] for name in ("start", "length"))
    if not isinstance(start, int):  # then all is kept, or nothing but the whole is taken
        return {"length": site.shape(source)[dim]}
    start %= max(source.shape[dim], 1)
    before = site.kept_before(source, dim, start)
    return {"start": before, "length": site.kept_before(source, dim, start + length) - before}


def _select(site: Site) -> Changes:
    source = site.argument("self")
    dim = site.operation.arguments["dim"] % len(source.shape)
    if not site.masks.touches(site.term(source, dim)):
        return {}
    index = site.operation.arguments["index"] % source.shape[dim]
    return {"index": site.kept_before(source, dim, index)}


def _pad(site: Site) -> Changes:
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


def _attention(site: Site) -> Changes:
    """The scale is derived from the heads' width: when that shrinks, the old scale stays as a literal."""
    query = site.argument("query")
    if site.operation.arguments.get("scale") is not None or not site.masks.touches(site.term(query, -1)):
        return {}
    return {"scale": query.shape[-1] ** -0.5}


_SIZE, _SHAPE, _SIZES = _shape_of("size"), _shape_of("shape"), _shape_of("sizes")

LITERALS: dict[str, Callable[[Site], Changes]] = {
    **dict.fromkeys(
        [
            f"aten.{name}"
            for name in "view _unsafe_view expand broadcast_to zeros ones full empty new_zeros new_ones "
            "new_full new_empty".split()
        ],
        _SIZE,
    ),
    "aten.reshape": _SHAPE,
    "aten.unflatten": _unflatten,
    "aten.repeat": _repeat("repeats"),
    "aten.tile": _repeat("dims"),
    "aten.repeat_interleave": _repeat_interleave,
    **dict.fromkeys(["aten.conv1d", "aten.conv2d", "aten.conv3d"], _convolution),
    **dict.fromkeys(
        ["aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d"], _transposed_convolution
    ),
    "aten.group_norm": _channel_groups("num_groups", "input"),
    "aten.channel_shuffle": _channel_groups("groups", "self"),
    **dict.fromkeys(["aten.layer_norm", "aten.rms_norm"], _normalized_shape),
    **dict.fromkeys(
        ["aten.chunk", "aten.split", "aten.split_with_sizes", "aten.tensor_split", "aten.unsafe_chunk"],
        _split,
    ),
    "aten.slice": _slice,
    "aten.narrow": _narrow,
    "aten.select": _select,
    **dict.fromkeys(["aten.pad", "aten.constant_pad_nd"], _pad),
    **dict.fromkeys(
        [f"aten.adaptive_{kind}_pool{rank}d" for kind in ("avg", "max") for rank in (1, 2, 3)],
        _shape_of("output_size"),
    ),
    "aten.scaled_dot_product_attention": _attention,
}


def find_literals(op: Operation) -> Callable[[Site], Changes] | None:
    """The row of an operator, or of the one it behaves as; none if no argument of it mentions an axis."""
    likeness = find_likeness(op.op)
    row = LITERALS.get(op.family) if likeness is None else find_literals(likeness.operation(op))
    return row if likeness is None or row is None else partial(_as_other, likeness, row)


def _as_other(likeness: Likeness, row: Callable[[Site], Changes], site: Site) -> Changes:
    raw, operation = likeness.given(site.raw), likeness.operation(site.operation)
    return likeness.own(row(replace(site, operation=operation, raw=raw)))


def new_literals(operation: Operation, raw: Mapping[str, Any], analysis: Analysis, masks: Masks) -> Changes:
    """The arguments of ``operation`` that change: by its row, else those that its rule says are sizes of axes.

    Args:
        raw: the node's own arguments by schema name, see `Site`.
    """
    values = (*operation.inputs, *operation.outputs)
    if not any(masks.touches(term) for value in values for term in analysis.terms[value.name]):
        return {}
    row = find_literals(operation)
    if row is not None:
        return row(Site(operation, raw, analysis.terms, masks))
    sizes = analysis.sizes.get(operation.name, {})
    return {name: _scaled(raw.get(name, 0), term.size, masks.size(term)) for name, term in sizes.items()}

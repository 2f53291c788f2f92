"""Operators that read, write or count at places that are data: those places stay, other dimensions pass.

If a unit of an index tensor is removed, one read or write does not happen. That is right where values are added,
for adding zero does the same. Where they are overwritten it is wrong: the old value would stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from graphprune.axes.algebra import Axis
from graphprune.axes.call import Call, Operand
from graphprune.axes.rules.orders import chosen
from graphprune.axes.rules.table import Table, each, stays

__all__ = ["RULES"]

_BY_DATA = "indexed by data"
_WRITTEN = "written at places that are data"


# the axes of a result's dimensions; None where a mask decides how many positions there are
_Dims = tuple[Axis | None, ...]


def _indexed(call: Call, source: Operand, indices: Sequence[Operand | None]) -> tuple[_Dims, _Dims]:
    """The dimensions of ``source[indices]``, and those of the indices alone; what is indexed is pinned."""
    covered: list[int] = []
    dim = 0
    for item in indices:
        width = (
            len(item.dims) if item is not None and _is_mask(item) else 1
        )  # a mask covers all its dimensions
        covered += range(dim, dim + width) if item is not None else ()
        dim += width
    call.pin((source.dims[place] for place in covered), _BY_DATA)
    kept, along = source.without(covered), _own_axes(call, [item for item in indices if item is not None])
    together = covered == list(range(covered[0], covered[-1] + 1))
    front = covered[0] if together else 0
    return (*kept[:front], *along, *kept[front:]), along


def _is_mask(item: Operand) -> bool:
    return item.value.dtype in ("bool", "uint8")


def _own_axes(call: Call, tensors: Sequence[Operand]) -> _Dims:
    """The axes of index tensors that are broadcast together."""
    rank = max(1 if _is_mask(tensor) else len(tensor.dims) for tensor in tensors)
    if any(map(_is_mask, tensors)):
        call.pin((axis for tensor in tensors for axis in tensor.dims), "indexed by a mask")
        return (None,) * rank
    found: list[Axis] = []
    for place in range(-rank, 0):
        axes = [tensor.dims[place] for tensor in tensors if len(tensor.dims) >= -place]
        axes = [axis for axis in axes if axis.size != 1] or axes
        for other in axes[1:]:
            call.unify(axes[0], other)
        found.append(axes[0])
    return tuple(found)


def index(call: Call) -> None:
    """Fancy indexing: indexed dimensions stay, the index tensors' own dimensions pass to the result."""
    given = [(dim, item) for dim, item in enumerate(call["indices"]) if item is not None]
    if len(given) == 1 and _chosen(call, *given[0]):
        return
    result, _ = _indexed(call, call["self"], call["indices"])
    _land(call, call.output.dims, result)


def _chosen(call: Call, dim: int, positions: Operand) -> bool:
    """Takes one dimension at positions that are stored, see `chosen`."""
    source, result = call["self"], call.output
    if not chosen(call, source.dims[dim], result.dims[dim], positions):
        return False
    call.unify_all(result.dims, source.dims, but=[dim])
    return True


def _land(call: Call, axes: Sequence[Axis], places: _Dims) -> None:
    """``axes`` are ``places``, or broadcast into them from the right."""
    for axis, other in zip(axes[::-1], places[::-1], strict=False):
        if other is None:
            call.pin(axis, "as many positions as a mask has")
        elif axis.size == other.size:
            call.unify(axis, other)


def index_put(call: Call) -> None:
    """Writes ``values``, broadcast, at ``x[indices]``; with ``accumulate`` they are added."""
    source, values = call["self"], call["values"]
    call.unify_all(call.output.dims, source.dims)
    given = [(item, dim) for dim, item in enumerate(call["indices"]) if item is not None]
    if len(given) == 1 and _is_mask(given[0][0]) and _put_where(call, *given[0]):
        return
    result, along = _indexed(call, source, call["indices"])
    _land(call, values.dims, result)
    if not call["accumulate"]:
        call.pin((axis for axis in along if axis is not None), _WRITTEN)


def _put_where(call: Call, mask: Operand, first: int) -> bool:
    """Lines up a mask with what it covers, from dimension ``first`` on, if all its positions get the same values.

    Then this is ``where(mask, values, x)``, and each position stands for itself.
    """
    source, values = call["self"], call["values"]
    covered, rest = source.dims[first : first + len(mask.dims)], source.dims[first + len(mask.dims) :]
    position = values.dims[: len(values.dims) - len(rest)][-1:]
    if any(axis.size != 1 for axis in position):
        return False
    call.unify_all(mask.dims, covered)
    _land(call, values.dims, (*source.dims[:first], *position, *rest))
    return True


def _along(call: Call) -> int:
    """The indexed dimension of the first tensor, which stays."""
    along = call.dimension(call["self"], call["dim"])
    call.pin(call["self"].dims[along], _BY_DATA)
    return along


def index_select(call: Call) -> None:
    """One dimension indexed by a vector."""
    if _chosen(call, call.dimension(call["self"], call["dim"]), call["index"]):
        return
    along = _along(call)
    call.pass_others([along], call["self"], call.output)
    if call["index"].dims:
        call.unify(call.output.dims[along], call["index"].dims[0])


def index_write(adds: bool, call: Call) -> None:
    """Slices of one dimension written, or added, where a vector says; ``index_fill`` writes a number."""
    source, chosen, values = call["self"], call["index"], call.get("source")
    call.unify_all(source.dims, call.output.dims)
    along = _along(call)
    if isinstance(values, Operand) and values.dims:
        call.unify_all(source.dims, values.dims, [along])
        call.unify_all(chosen.dims or (values.dims[along],), (values.dims[along],))
    if not adds:
        call.pin(chosen.dims, _WRITTEN)


def gather(call: Call) -> None:
    """The gathered dimension stays; the index tensor has the result's shape."""
    source, along = call["self"], _along(call)
    call.unify_all(call.output.dims, call["index"].dims)
    for axis, other in zip(call.output.without([along]), source.without([along]), strict=True):
        if axis.size == other.size:
            call.unify(axis, other)
        else:
            call.pin((axis, other), _BY_DATA)


def gather_broadcast(call: Call) -> None:
    """``take_along_dim``: as `gather`, with sizes of one repeated; without ``dim`` all is one dimension."""
    source, chosen = call["self"], call["indices"]
    if call["dim"] is None:
        call.pin(source.dims, _BY_DATA)
        call.unify_all(call.output.dims, [call.equations.product(chosen.dims)])
        return
    along = _along(call)
    call.broadcast([chosen], call.output.dims)
    for place in range(len(source.dims)):
        if place != along:
            _land(call, [call.output.dims[place]], (source.dims[place],))


def take(call: Call) -> None:
    """Positions of all that there is, one behind the other."""
    call.pin(call["self"].dims, _BY_DATA)
    call.unify_all(call.output.dims, call["index"].dims)


def segments(call: Call) -> None:
    """Runs of positions along ``axis``, each reduced; where they begin and end is data."""
    source, output, along = call["data"], call.output, call.dimension(call["data"], call["axis"])
    call.pass_others([along], source, output)
    rest = (
        axis
        for name in ("lengths", "indices", "offsets")
        for operand in call.operands((name,))
        for axis in operand.dims
    )
    call.pin((source.dims[along], output.dims[along], *rest), "which positions belong together is data")


def membership(call: Call) -> None:
    """Whether each element is among others."""
    for operand in call.operands(("test_elements",)):
        call.pin(operand.dims, "every element is compared with all of these")
    for operand in call.operands(("elements",)):
        call.unify_all(call.output.dims, operand.dims)


def scatter(call: Call) -> None:
    """The reverse of `gather`: ``src`` is written, or added, where the index tensor says."""
    source, chosen, values = call["self"], call["index"], call.get("src")
    call.unify_all(source.dims, call.output.dims)
    along = _along(call)
    for place, (axis, other) in enumerate(zip(source.dims, chosen.dims, strict=True)):
        written = [values.dims[place]] if isinstance(values, Operand) else []
        together = [other, *written] if place == along else [axis, other, *written]
        if len({each.size for each in together}) > 1 or (place == along and not _adds(call)):
            call.pin(together, _WRITTEN)
        else:
            call.unify_all(together[:-1], together[1:])


def _adds(call: Call) -> bool:
    """Whether a zero that is written leaves no trace."""
    reduce = "sum" if call.operation.family.startswith("aten.scatter_add") else call.get("reduce")
    return (
        isinstance(call.get("src"), Operand) and reduce in ("sum", "add") and call.get("include_self", True)
    )


def one_hot(call: Call) -> None:
    """A new last dimension with one position per class."""
    call.unify_all(call.output.dims[:-1], call["self"].dims)
    call.pin(call.output.dims[-1], "one position per class")


def sorted_search(call: Call) -> None:
    """Places in sorted numbers: those are one vector for all, or one per leading position."""
    values = call["self"]
    table = call.get("boundaries") or call["sorted_sequence"]
    call.pin(table.dims[-1], "places in it are returned")
    if not isinstance(values, Operand):
        return
    call.unify_all(call.output.dims, values.dims)
    for operand in (table, call.get("sorter")):
        if isinstance(operand, Operand) and len(table.dims) > 1:
            call.unify_all(operand.dims[:-1], values.dims[:-1])
        if isinstance(operand, Operand):
            call.unify(operand.dims[-1], table.dims[-1])


RULES: Table = {
    "aten.index": index,
    **each("index_put index_put_", index_put),
    "aten.index_select": index_select,
    "aten.take_along_dim": gather_broadcast,
    "aten.take": take,
    "aten.put": stays(_WRITTEN),
    "aten.isin": membership,
    **each("index_add index_add_", partial(index_write, True)),
    **each(
        "index_copy index_copy_ index_fill index_fill_ index_reduce index_reduce_",
        partial(index_write, False),
    ),
    "aten.gather": gather,
    **each("scatter scatter_ scatter_add scatter_add_ scatter_reduce scatter_reduce_", scatter),
    "aten.one_hot": one_hot,
    **each("searchsorted bucketize", sorted_search),
    **each("histc bincount histogram unique_consecutive _unique2 unique_dim", stays("values are counted")),
    **each("nonzero argwhere nonzero_static", stays("positions are returned")),
    "aten.segment_reduce": segments,
    "aten.fill_diagonal_": stays("a diagonal is written"),
    **each("combinations cartesian_prod", stays("every element is put beside every other")),
    **each(
        "masked_select masked_scatter masked_scatter_",
        stays("elements are taken in order, as many as a mask has"),
    ),
    "torchvision.nms": stays("boxes are compared with one another"),
}

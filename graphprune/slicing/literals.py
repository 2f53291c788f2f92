"""What a node says in numbers of its own: sizes, counts and positions of dimensions that were cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from graphprune.axes.terms import Term
from graphprune.importing.values import Numbers
from graphprune.planning.masks import Masks
from graphprune.slicing.attention import ATTENTION, outer_size
from graphprune.slicing.site import Changes, Site

__all__ = ["LITERALS"]


def _shape(place: int) -> Callable[[Site, Changes], None]:
    """The shape of the output as an input; 0 and -1 in it stand for what is there."""

    def fit(site: Site, changes: Changes) -> None:
        given = site.args[place] if place < len(site.args) else None
        if not isinstance(given, Numbers):
            return
        items = given.array.tolist()
        for index, (item, was) in enumerate(zip(items, site.before[place] or items, strict=True)):
            old, new = site.sizes[0].get(index + site.rank - len(items), (was, was))
            # the example has fewer rows than the program was captured with: of four heads each, say
            if was > 0 and was * new % old == 0:
                site.number(place, index, item, was * new // old, changes)

    return fit


def _group(place: int) -> Callable[[Site, Changes], None]:
    """As many groups as the part of the channels that the weight, its input ``place``, goes into the channels."""

    def fit(site: Site, changes: Changes) -> None:
        weight, node = site.args[place], site.step.node
        channels = site.args[0].shape[1]
        if node.operator == "ConvTranspose":
            old, channels = site.sizes[0].get(1, (0, 0))
            if not old:
                return
        if channels // weight.shape[1] != (node["group"] or 1):
            changes.attributes["group"] = channels // weight.shape[1]

    return fit


def _hidden(site: Site, changes: Changes) -> None:
    size = site.args[2].shape[2]
    if site.step.node["hidden_size"] not in (None, size):
        changes.attributes["hidden_size"] = size


def _split(site: Site, changes: Changes) -> None:
    axis, node = site.step.node["axis"] % site.args[0].dim(), site.step.node
    cut = {index: dims[axis] for index, dims in enumerate(site.sizes) if axis in dims}
    if len(site.args) > 1 and isinstance(site.args[1], Numbers):
        items = site.args[1].array.tolist()
        for index, (_, new) in cut.items():
            site.number(1, index, items[index], new, changes)
    elif node["split"]:
        sizes = [cut[index][1] if index in cut else size for index, size in enumerate(node["split"])]
        if sizes != list(node["split"]):
            changes.attributes["split"] = sizes
    elif len({new for _, new in cut.values()}) > 1 or (cut and len(cut) < len(site.sizes)):
        _say_sizes(
            site, {index: new for index, (_, new) in cut.items()}, next(iter(cut.values()))[0], changes
        )


def _say_sizes(site: Site, new: Mapping[int, int], old: int, changes: Changes) -> None:
    """Parts that were equal, and are not: the sizes are an input since opset 13, and an attribute before."""
    sizes = [new.get(index, old) for index in range(len(site.sizes))]
    if site.step.node.opset < 13:
        changes.attributes["split"] = sizes
    else:
        changes.inputs[1] = sizes
        changes.attributes["num_outputs"] = None


def _slice(site: Site, changes: Changes) -> None:
    """Positions are counted among what is left."""
    node = site.step.node
    given = [item.array.tolist() if isinstance(item, Numbers) else None for item in site.args[1:]]
    starts, ends, axes, steps = [*given, None, None, None, None][:4]
    by_input = starts is not None
    lists: list[list[Any]] = [starts or list(node["starts"]), ends or list(node["ends"])]
    was = [site.before[1 + place] or items if by_input else items for place, items in enumerate(lists)]
    along = axes or (None if by_input else node["axes"]) or range(len(lists[0]))
    moved = [list(items) for items in lists]
    for index, axis in enumerate(along):
        term = site.term(int(axis))
        if term is None or not site.masks.touches(term):
            continue
        if steps is not None and int(steps[index]) != 1:
            raise node.refusal(f"it takes steps of {int(steps[index])} along an axis that is cut")
        for place, items in enumerate(lists):
            moved[place][index] = _moved(term, was[place][index], site.masks)
            if by_input:
                site.number(1 + place, index, items[index], moved[place][index], changes)
    if not by_input and moved != lists:
        changes.attributes.update(starts=moved[0], ends=moved[1])


def _moved(term: Term, place: int, masks: Masks) -> int:
    """A position counted from the same end as before, among what is left."""
    size = term.size
    if place >= size or place < -size:
        return place
    mask, fibre = masks.opened(term)
    kept: Tensor = mask if fibre is None else mask[0]
    at = place + size if place < 0 else place
    before = int(kept[:at].sum())
    return before if place >= 0 else before - int(kept.sum())


def _groups_of_norm(site: Site, changes: Changes) -> None:
    term, count = site.term(1), site.step.node["num_groups"]
    if term is not None and site.masks.touches(term):
        left = outer_size(term, count, site.masks)
        if not left:
            raise site.step.node.refusal(f"its {count} groups are no part of the axis that is cut")
        if left != count:
            changes.attributes["num_groups"] = left


LITERALS: Mapping[str, Callable[[Site, Changes], None]] = {
    **ATTENTION,
    "ConstantOfShape": _shape(0),
    "Conv": _group(1),
    "ConvInteger": _group(1),
    "ConvTranspose": _group(1),
    "Expand": _shape(1),
    "GRU": _hidden,
    "GroupNormalization": _groups_of_norm,
    "LSTM": _hidden,
    "QLinearConv": _group(3),
    "RNN": _hidden,
    "Reshape": _shape(1),
    "Resize": _shape(3),
    "Slice": _slice,
    "Split": _split,
    "com.microsoft.FusedConv": _group(1),
}

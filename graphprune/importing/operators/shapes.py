"""Operators that lay the same elements out otherwise, join and part them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from graphprune.capture.remembered import plain
from graphprune.importing.node import DTYPES, DataError, Node, Operator
from graphprune.importing.values import tensor_from

__all__ = ["OPERATORS"]

Counts = Sequence[int]


def _reshape(node: Node, x: Tensor, shape: Counts) -> Tensor:
    """A 0 stands for the size that the input has there, unless ``allowzero`` says that it is meant."""
    if not node["allowzero"]:
        shape = [x.shape[dim] if plain(size) == 0 else size for dim, size in enumerate(shape)]
    return x.reshape(list(shape))


def _flatten(node: Node, x: Tensor) -> Tensor:
    """A matrix, whose rows are the dimensions before ``axis``."""
    axis = node["axis"] + (x.dim() if node["axis"] < 0 else 0)
    if axis == 0:
        return x.reshape(1, -1)
    rows = x if axis == 1 else x.flatten(0, axis - 1)
    return rows.flatten(1) if axis < x.dim() else rows.unsqueeze(1)


def _squeeze(node: Node, x: Tensor, given: Counts | None = None) -> Tensor:
    axes = node["axes"] if given is None else given
    if axes is None:
        return x.squeeze()
    places = [axis % x.dim() for axis in axes]
    if long := [place for place in places if x.shape[place] != 1]:
        raise node.refusal(f"dimension {long[0]} has the size {int(x.shape[long[0]])}, and not 1")
    return x.squeeze(places)


def _unsqueeze(node: Node, x: Tensor, given: Counts | None = None) -> Tensor:
    axes = node["axes"] if given is None else given
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(node["perm"] or list(reversed(range(x.dim()))))


def _expand(node: Node, x: Tensor, shape: Counts) -> Tensor:
    """Where a size is 1, the other holds."""
    rank = max(len(shape), x.dim())
    wanted = [1] * (rank - len(shape)) + list(shape)
    own = [1] * (rank - x.dim()) + list(x.shape)
    sizes = [size if plain(there) == 1 else there for there, size in zip(own, wanted, strict=True)]
    return x.expand(sizes)


def _tile(node: Node, x: Tensor, times: Counts) -> Tensor:
    return x.repeat(list(times))


def _split(node: Node, x: Tensor, given: Counts | None = None) -> tuple[Tensor, ...]:
    """The sizes are an input since opset 13, and an attribute before; without any all parts are equal."""
    axis, count = node["axis"], len(node.outputs)
    sizes = node["split"] if given is None else given
    if sizes is not None:
        return torch.split(x, list(sizes), axis)
    return torch.split(x, -(-x.shape[axis] // count), axis)


def _slice(
    node: Node,
    x: Tensor,
    starts: Counts | None = None,
    ends: Counts | None = None,
    axes: Counts | None = None,
    steps: Counts | None = None,
) -> Tensor:
    """Everything is an attribute before opset 10."""
    starts, ends = (
        starts if starts is not None else node["starts"],
        ends if ends is not None else node["ends"],
    )
    axes = axes if axes is not None else node["axes"]
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = axes[place] if axes is not None else place
        x = _sliced(x, axis % x.dim(), start, end, steps[place] if steps is not None else 1)
    return x


def _sliced(x: Tensor, axis: int, start: int, end: int, step: int) -> Tensor:
    before = (slice(None),) * axis
    taken: tuple[slice, ...]
    if step > 0:
        taken = (*before, slice(start, end, step))
        return x[taken]
    # backwards: the same elements of the tensor turned round; a start or end beyond it is the end itself
    size = x.shape[axis]
    start, end = (max(place + size, -1) if place < 0 else min(place, size - 1) for place in (start, end))
    taken = (*before, slice(size - 1 - start, size - 1 - end, -step))
    return x.flip(axis)[taken]


_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _pad(
    node: Node,
    x: Tensor,
    given: Counts | None = None,
    value: Tensor | None = None,
    axes: Counts | None = None,
) -> Tensor:
    """The amounts are an attribute before opset 11, the value too."""
    pads = list(node["pads"] if given is None else given)
    count = len(pads) // 2
    along = [axis % x.dim() for axis in axes] if axes is not None else list(range(count))
    amounts = [(0, 0)] * x.dim()
    for place, axis in enumerate(along):
        amounts[axis] = (pads[place], pads[count + place])
    mode = node["mode"]
    if mode == "constant":
        fill = value if value is not None else node["value"] or 0.0
        return _filled(x, amounts, fill)
    return _mirrored(x, amounts, mode, node)


def _flat(amounts: Sequence[tuple[int, int]]) -> list[int]:
    """From the last dimension on, as torch takes them, without the first ones where nothing is padded."""
    given = list(amounts)
    while len(given) > 1 and given[0] == (0, 0):
        given.pop(0)
    return [amount for pair in reversed(given) for amount in pair]


def _filled(x: Tensor, amounts: Sequence[tuple[int, int]], value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        return F.pad(x, _flat(amounts), value=value)
    inside = torch.ones_like(x, dtype=torch.bool)
    return torch.where(F.pad(inside, _flat(amounts)), F.pad(x, _flat(amounts)), value.reshape(()))


def _mirrored(x: Tensor, amounts: Sequence[tuple[int, int]], mode: str, node: Node) -> Tensor:
    """Each dimension by itself, as the last one of a tensor of three."""
    if mode not in _MODES:
        raise node.refusal(f"there is no mode {mode!r}")
    for axis, pair in enumerate(amounts):
        if pair != (0, 0):
            moved = x.movedim(axis, -1)
            shape = moved.shape
            padded = F.pad(moved.reshape(1, -1, shape[-1]), pair, mode=_MODES[mode])
            x = padded.reshape(*shape[:-1], padded.shape[-1]).movedim(-1, axis)
    return x


def _depth_to_space(node: Node, x: Tensor) -> Tensor:
    size = node["blocksize"]
    if node["mode"] != "DCR":
        return F.pixel_shuffle(x, size)
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, size, size, channels // (size * size), height, width)
    return parts.permute(0, 3, 4, 1, 5, 2).reshape(
        batch, channels // (size * size), height * size, width * size
    )


def _space_to_depth(node: Node, x: Tensor) -> Tensor:
    size = node["blocksize"]
    if node["mode"] == "CRD":
        return F.pixel_unshuffle(x, size)
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, channels, height // size, size, width // size, size)
    return parts.permute(0, 3, 5, 1, 2, 4).reshape(
        batch, channels * size * size, height // size, width // size
    )


def _constant(node: Node, shape: Counts) -> Tensor:
    value = node["value"]
    if value is None:
        return torch.zeros(list(shape))
    from onnx import numpy_helper

    filling = tensor_from(numpy_helper.to_array(value))
    return torch.full(list(shape), filling.item(), dtype=filling.dtype)


def _range(node: Node, *limits: Any) -> Tensor:
    """One of sizes is counted, see `graphprune.importing.operators.counting`."""
    raise node.refusal("its limits are computed from data", kind=DataError)


def _eye(node: Node, like: Tensor) -> Tensor:
    rows, columns = like.shape
    dtype = DTYPES[node["dtype"]] if node["dtype"] is not None else like.dtype
    places = torch.arange(columns) - torch.arange(rows).unsqueeze(1)
    return (places == node["k"]).to(dtype)


def _triangle(node: Node, x: Tensor, diagonal: Any = None) -> Tensor:
    k = 0 if diagonal is None else diagonal[0] if isinstance(diagonal, list) else diagonal
    return torch.triu(x, k) if node["upper"] else torch.tril(x, k)


OPERATORS = {
    "Concat": Operator(lambda node, *tensors: torch.cat(tensors, node["axis"])),
    "ConstantOfShape": Operator(_constant, counts=(0,)),
    "DepthToSpace": Operator(_depth_to_space),
    "Expand": Operator(_expand, counts=(1,)),
    "EyeLike": Operator(_eye),
    "Flatten": Operator(_flatten),
    "Pad": Operator(_pad, counts=(1, 3)),
    "Range": Operator(_range),
    "Reshape": Operator(_reshape, counts=(1,)),
    "Slice": Operator(_slice, counts=(1, 2, 3, 4)),
    "SpaceToDepth": Operator(_space_to_depth),
    "Split": Operator(_split, counts=(1,)),
    "Squeeze": Operator(_squeeze, counts=(1,)),
    "Tile": Operator(_tile, counts=(1,)),
    "Transpose": Operator(_transpose),
    "Trilu": Operator(_triangle, counts=(1,)),
    "Unsqueeze": Operator(_unsqueeze, counts=(1,)),
}

"""What each input of a program is, by what reads it: images, series, tokens, points, features, or what it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.capture.operators import arguments, family
from graphprune.capture.program import Program
from graphprune.capture.roles import ROLES

__all__ = ["Input", "read_inputs"]

KINDS = ("as given", "tokens", "features", "points", "series", "image", "volume")
BY_SPACE = {0: "features", 1: "series", 2: "image", 3: "volume"}
FEW = 4  # rows of a table that tells sorts of tokens apart, not words
SPATIAL = 3  # coordinates of a point


@dataclass(frozen=True)
class Input:
    """One input.

    Args:
        name: of its placeholder.
        kind: one of "image", "series", "volume", "points", "features", "tokens" and "as given", which stays what the
            example has.
        channels: the dimension of channels; None where there is none.
        space: the dimensions along which neighbours are alike.
        rows: of the smallest table in which tokens are looked up.
    """

    name: str
    kind: str
    channels: int | None = None
    space: tuple[int, ...] = ()
    rows: int = 0


def read_inputs(program: Program) -> list[Input]:
    """Every input of the program, in calling order."""
    placeholders = {node.name: node for node in program.graph.find_nodes(op="placeholder")}
    leaves = program.flat_inputs(*program.example)
    return [
        _read(program, placeholders[name], leaf) for name, leaf in zip(program.inputs, leaves, strict=True)
    ]


def _read(program: Program, node: fx.Node, leaf: Any) -> Input:
    if not isinstance(leaf, Tensor) or not leaf.dim() or leaf.is_complex() or leaf.dtype == torch.bool:
        return Input(node.name, "as given")
    readers = list(_readers(node))
    if not leaf.is_floating_point():
        return _integers(program, node.name, readers)
    layer = next((reader for reader in readers if ROLES[family(reader)].kind != "table"), None)
    if layer is None:
        return Input(node.name, "as given")
    return _floats(program, node.name, leaf, layer)


def _readers(node: fx.Node) -> Iterator[fx.Node]:
    """The layers that are the first on a way from ``node``, the nearest first."""
    queue, seen = [node], {node}
    for current in queue:
        for user in current.users:
            if user in seen or user.op != "call_function":
                continue
            seen.add(user)
            if family(user) in ROLES:
                yield user
            else:
                queue.append(user)


def _integers(program: Program, name: str, readers: list[fx.Node]) -> Input:
    """Tokens where a table of words is the first thing they meet."""
    tables = [reader for reader in readers if ROLES[family(reader)].kind == "table"]
    own = [table for table in tables if arguments(table)["indices"].name == name] or tables[:1]
    rows = min((program.values[arguments(table)["weight"].name].shape[0] for table in own), default=0)
    return Input(name, "tokens", rows=rows) if rows > FEW else Input(name, "as given")


def _floats(program: Program, name: str, leaf: Tensor, layer: fx.Node) -> Input:
    role, given = ROLES[family(layer)], arguments(layer)
    source = program.values[given[role.source].name].shape
    weight = program.values.get(getattr(given.get(role.weight), "name", ""))
    is_convolution = role.kind in ("convolution", "transposed") and weight is not None
    channels = _channels(tuple(leaf.shape), tuple(source), is_convolution)
    space = tuple(dim for dim in range(1, leaf.dim()) if dim != channels and leaf.shape[dim] > 1)
    pointwise = not is_convolution or all(size == 1 for size in weight.shape[2:])  # type: ignore[union-attr]
    size = leaf.shape[channels] if channels is not None else 1
    if len(space) == 1 and pointwise and size == SPATIAL:
        return Input(name, "points", channels, space)
    return Input(name, BY_SPACE.get(len(space), "features"), channels, space)


def _channels(given: tuple[int, ...], source: tuple[int, ...], is_convolution: bool) -> int | None:
    """The dimension of an input that holds channels, from what the first layer reads of it."""
    rank = len(given)
    if rank < 2:
        return None
    wanted = source[1] if is_convolution and len(source) > 2 else source[-1] if source else 0
    places = [1, rank - 1] if is_convolution else [rank - 1, 1]
    found = next((place for place in places if given[place] == wanted), None)
    if found is None and rank == 4:  # patches are cut out of an image before the first layer
        found = min((1, 3), key=lambda place: given[place])
    return None if rank == 2 and is_convolution else found

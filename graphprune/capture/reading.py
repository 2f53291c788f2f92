"""How a raised program reads an argument that is an object: by the attributes and items that lead to its tensors."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from torch import Tensor, fx

from graphprune.capture.objects import children, is_object
from graphprune.ground.arguments import count_items, read_attribute, require_same

__all__ = ["read_object"]


def read_object(node: fx.Node, name: str, example: Any) -> dict[int, fx.Node]:
    """Nodes behind ``node`` for the tensors of ``example``, by their `id`.

    What else is in the object was a constant at capture, so a call with something else is refused.

    Args:
        name: what the user calls the argument.
    """
    found: dict[int, fx.Node] = {}
    _read(node, name, example, found, set())
    return found


def _read(node: fx.Node, name: str, example: Any, found: dict[int, fx.Node], met: set[int]) -> None:
    if isinstance(example, Tensor):
        found.setdefault(id(example), node)
    elif example is None or isinstance(example, bool | int | float | str):
        node.graph.call_function(require_same, (name, node, example))
    elif id(example) not in met:
        met.add(id(example))
        if isinstance(example, list | tuple):
            count = node.graph.call_function(count_items, (node,))
            node.graph.call_function(require_same, (f"the length of {name}", count, len(example)))
        read = read_attribute if is_object(example) else operator.getitem
        for key, item in children(example):
            if _is_read(item):
                _read(node.graph.call_function(read, (node, key)), f"{name}.{key}", item, found, met)


def _is_read(item: Any) -> bool:
    """Whether it holds tensors or numbers, unlike a dtype or a device."""
    return (
        item is None
        or is_object(item)
        or isinstance(item, Tensor | Mapping | list | tuple | bool | int | float | str)
    )

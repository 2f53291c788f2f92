"""Objects in arguments and results that hold tensors in their attributes, such as the cache of a language model.

PyTorch knows containers and the classes that were named to it. Of every other object only the tensors matter here, and
where they are.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import nn

__all__ = ["children", "is_object", "tensors_within"]

_CONTAINERS = (Mapping, list, tuple, set, frozenset)
# what has attributes, but is no container of values
_CLOSED = (torch.Tensor, nn.Module, ModuleType, type, enum.Enum, torch.Generator)


def is_object(value: Any) -> bool:
    """Whether ``value`` is no plain value and no container, but has attributes of its own."""
    return hasattr(value, "__dict__") and not callable(value) and not isinstance(value, _CONTAINERS + _CLOSED)


def children(value: Any) -> Iterator[tuple[Any, Any]]:
    """What stands directly in ``value``, with its key, its number, or the name of the attribute."""
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from enumerate(value)
    elif is_object(value):
        yield from vars(value).items()


def tensors_within(value: Any, private: bool = True) -> Any:
    """The tensors in ``value``: it itself, or a dict of those attributes (a list of those items) that hold any.

    None where there are none. An object that is met again within itself is not entered.

    Args:
        private: whether to look at attributes that begin with an underscore.
    """
    return _within(value, private, ())


def _within(value: Any, private: bool, above: tuple[int, ...]) -> Any:
    if isinstance(value, torch.Tensor):
        return value
    if id(value) in above:
        return None
    hidden = () if private or not is_object(value) else [name for name in vars(value) if name.startswith("_")]
    found = {
        key: part
        for key, item in children(value)
        if key not in hidden and (part := _within(item, private, (*above, id(value)))) is not None
    }
    if not found:
        return None
    return list(found.values()) if isinstance(value, list | tuple) else found

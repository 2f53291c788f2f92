"""Objects in arguments and results that hold tensors in their attributes, such as the cache of a language model.

PyTorch knows containers and the classes that were named to it. Of every other object only the tensors matter here, and
where they are.
"""

from __future__ import annotations

import copy
import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from graphprune.ground.errors import InputError

__all__ = ["children", "is_object", "numbered", "objects_in", "register_objects", "tensors_within"]

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


def objects_in(value: Any) -> Iterator[Any]:
    """The objects in ``value`` that stand in no other object."""
    if is_object(value):
        yield value
    else:
        for _, item in children(value):
            yield from objects_in(item)


def numbered(value: Any) -> Any:
    """``value`` with numbers in the place of its leaves, in order; of an object, a tuple of numbers."""
    count = iter(range(len(pytree.tree_leaves(value))))

    def number(leaf: Any) -> Any:
        return tuple(next(count) for _ in pytree.tree_leaves(leaf)) if is_object(leaf) else next(count)

    return pytree.tree_map(number, value, is_leaf=is_object)


def register_objects(value: Any) -> None:
    """Names the classes of the objects in ``value`` to PyTorch, so that the tensors in them are leaves of its trees.

    Where PyTorch takes one apart and puts it together again, everything in it is a copy but for the tensors.

    Raises:
        InputError: an object cannot be copied.
    """
    for item in objects_in(value):
        kind = type(item)
        if kind in pytree.SUPPORTED_NODES:
            continue
        try:
            _flatten(item)
        except Exception as error:  # whatever a class raises that is not made to be copied
            raise InputError(
                f"an input is a {kind.__name__}, which cannot be copied", "give its tensors as inputs instead"
            ) from error
        pytree.register_pytree_node(kind, _flatten, _unflatten, flatten_with_keys_fn=_flatten_with_keys)


class _Place:
    """Stands for a tensor in an object that was taken apart."""


class _Frame:
    """An object without its tensors, which ``places`` stand for. Two are equal if their tensors stand alike."""

    def __init__(self, of: Any, tensors: Mapping[str, torch.Tensor]) -> None:
        self.places = {path: _Place() for path in tensors}
        memo: dict[int, Any] = {id(tensor): self.places[path] for path, tensor in tensors.items()}
        self.frame = copy.deepcopy(of, memo)

    def filled(self, leaves: Sequence[Any]) -> Any:
        memo = {id(place): leaf for place, leaf in zip(self.places.values(), leaves, strict=True)}
        return copy.deepcopy(self.frame, memo)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Frame) and list(self.places) == list(other.places)

    def __hash__(self) -> int:
        return hash(tuple(self.places))


def _flatten(value: Any) -> tuple[list[Any], _Frame]:
    tensors = _by_path(value)
    return list(tensors.values()), _Frame(value, tensors)


def _flatten_with_keys(value: Any) -> tuple[list[tuple[Any, Any]], _Frame]:
    tensors = _by_path(value)
    keyed: list[tuple[Any, Any]] = [(pytree.MappingKey(path), tensor) for path, tensor in tensors.items()]
    return keyed, _Frame(value, tensors)


def _unflatten(leaves: Iterable[Any], frame: _Frame) -> Any:
    return frame.filled(list(leaves))


def _by_path(value: Any) -> dict[str, torch.Tensor]:
    """Every tensor in an object once, by the dotted path to it."""
    found: dict[str, torch.Tensor] = {}
    met: set[int] = set()

    def walk(item: Any, path: str) -> None:
        if id(item) in met:
            return
        if isinstance(item, torch.Tensor) or is_object(item) or isinstance(item, _CONTAINERS):
            met.add(id(item))
        if isinstance(item, torch.Tensor):
            found[path] = item
        for key, part in children(item):
            walk(part, f"{path}.{key}" if path else str(key))

    walk(value, "")
    return found

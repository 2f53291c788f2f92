"""Sums that grow batch by batch, and are added up over all processes of `torch.distributed` when they are read."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from graphprune.ground.processes import over_processes

__all__ = ["Sums"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Sums(Generic[Key, Value]):
    """Sums by key, of tensors or of named tuples of tensors, in float64 on the CPU.

    Every process adds what its own batches give. `total` and `means` are over all of them, so that all processes come
    to the same; they must be called alike in every process, and all must have added to the same keys (see `expect`).

    >>> sums = Sums()
    >>> for batch in torch.tensor([[1.0, 2.0], [3.0, 6.0]]):
    ...     sums.count += 1
    ...     sums.add("values", batch)
    >>> sums.means()["values"].tolist()
    [2.0, 4.0]
    """

    def __init__(self) -> None:
        self.held: dict[Key, Value] = {}
        self.count = 0  # of the batches or examples that `means` divides by

    def add(self, key: Key, value: Value) -> None:
        """Adds ``value``; the first one of a key becomes the sum, so it must not be used elsewhere."""
        value = pytree.tree_map(_wide, value)
        if key in self.held:
            pytree.tree_map(Tensor.add_, self.held[key], value)
        else:
            self.held[key] = value

    def expect(self, key: Key, like: Value) -> None:
        """A sum in the shape of ``like`` for this key, even if this process never adds to it."""
        if key not in self.held:
            self.held[key] = pytree.tree_map(lambda part: torch.zeros_like(_wide(part)), like)

    def total(self) -> dict[Key, Value]:
        """The sums over all processes."""
        return _joined(self.held)

    def means(self) -> dict[Key, Value]:
        """The sums over all processes, divided by how often they counted together."""
        count = _joined({"count": _wide(self.count)})["count"].clamp_min(1)
        means: dict[Key, Value] = pytree.tree_map(lambda total: total / count, self.total())
        return means


def _wide(value: Any) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64, device="cpu").detach()


def _joined(sums: Mapping[Key, Value]) -> dict[Key, Value]:
    # a process may have met the keys in an order of its own
    parts, shape = pytree.tree_flatten_with_path({key: sums[key] for key in sorted(sums, key=repr)})
    joined = over_processes({pytree.keystr(path): part for path, part in parts})
    found: dict[Key, Value] = pytree.tree_unflatten(joined.values(), shape)
    return {key: found[key] for key in sums}

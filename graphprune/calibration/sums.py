"""Sums that grow batch by batch, and are added up over all processes of `torch.distributed` when they are read."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from graphprune.ground.processes import over_processes

__all__ = ["Records", "Sums"]

Key = TypeVar("Key", bound=Hashable)


class Sums(Generic[Key]):
    """Sums of tensors by key, in float64 on the CPU.

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
        self.held: dict[Key, Tensor] = {}
        self.count = 0  # of the batches or examples that `means` divides by

    def add(self, key: Key, value: Tensor | float) -> None:
        """Adds ``value``; the first one of a key becomes the sum, so it must not be used elsewhere."""
        value = torch.as_tensor(value, dtype=torch.float64, device="cpu").detach()
        if key in self.held:
            self.held[key] += value
        else:
            self.held[key] = value

    def expect(self, key: Key, like: Tensor) -> None:
        """A sum in the shape of ``like`` for this key, even if this process never adds to it."""
        if key not in self.held:
            self.held[key] = torch.zeros_like(like, dtype=torch.float64, device="cpu")

    def total(self) -> dict[Key, Tensor]:
        """The sums over all processes."""
        return self._joined(self.held)

    def means(self) -> dict[Key, Tensor]:
        """The sums over all processes, divided by how often they counted together."""
        counted: dict[Any, Tensor] = {"count": torch.tensor(float(self.count), dtype=torch.float64)}
        count = self._joined(counted)["count"].clamp_min(1)
        return {key: total / count for key, total in self.total().items()}

    @staticmethod
    def _joined(sums: Mapping[Any, Tensor]) -> dict[Any, Tensor]:
        # a process may have met the keys in an order of its own
        found = over_processes({key: sums[key] for key in sorted(sums, key=repr)})
        return {key: found[key] for key in sums}


class Records(Generic[Key]):
    """As `Sums`, of several tensors for each key, which have names.

    >>> records = Records()
    >>> for batch in torch.tensor([[1.0, 2.0], [3.0, 6.0]]):
    ...     records.add("values", count=torch.tensor(2), squares=batch.square().sum())
    >>> {name: float(total) for name, total in records.total()["values"].items()}
    {'count': 4.0, 'squares': 50.0}
    """

    def __init__(self) -> None:
        self.sums: Sums[tuple[Key, str]] = Sums()

    def add(self, key: Key, **parts: Tensor) -> None:
        """Adds the parts of a record, see `Sums.add`."""
        for name, part in parts.items():
            self.sums.add((key, name), part)

    def expect(self, key: Key, **like: Tensor) -> None:
        """See `Sums.expect`."""
        for name, part in like.items():
            self.sums.expect((key, name), part)

    def total(self) -> dict[Key, dict[str, Tensor]]:
        """The records over all processes."""
        found: dict[Key, dict[str, Tensor]] = {}
        for (key, name), part in self.sums.total().items():
            found.setdefault(key, {})[name] = part
        return found

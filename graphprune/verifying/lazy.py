"""Tensors that are made when they are read, so that no second copy of a model's weights is held."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor

from graphprune.capture.program import Stored

__all__ = ["Lazy", "converted"]


class Lazy(Mapping[str, Tensor]):
    """Tensors by name; ``make`` gives the tensor of a name each time that it is read."""

    def __init__(self, names: Iterable[str], make: Callable[[str], Tensor]) -> None:
        self.names = tuple(names)
        self.make = make

    def __getitem__(self, name: str) -> Tensor:
        return self.make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def converted(stored: Mapping[str, Stored], dtype: torch.dtype | None) -> Lazy:
    """Stored tensors, the floating ones in ``dtype``; None keeps theirs."""

    def make(name: str) -> Tensor:
        tensor = stored[name].tensor.detach()
        return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor

    return Lazy(stored, make)

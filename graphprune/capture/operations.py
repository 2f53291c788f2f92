"""What the core sees of a captured graph: operations on named values, free of torch.

A second front end only has to produce these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Operation", "Size", "Value"]


@dataclass(frozen=True)
class Value:
    """A tensor of the graph.

    ``shape`` holds plain integers. A dimension that depends on the batch size holds a multiple of a large
    prime that stands for it, so that no other factor can be mistaken for the batch (see `Program.batch_primes`).
    ``positions`` are the numbers of a stored vector from which operators read nothing but positions of a dimension.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    positions: tuple[int, ...] = ()


class Size(int):
    """An argument that is computed from sizes of the inputs: its value at capture, other calls have others."""


@dataclass(frozen=True)
class Operation:
    """One operator call.

    ``op`` is the operator with its overload (``aten.add.Tensor``); ``arguments`` are bound to the names of
    the operator's schema, defaults filled in, tensors as `Value`. ``layer`` is the dotted name of the module
    whose ``forward`` made the call and ``source`` the user's line, for messages.
    """

    name: str
    op: str
    arguments: Mapping[str, Any]
    outputs: tuple[Value, ...]
    layer: str = ""
    source: str = ""

    @property
    def inputs(self) -> Iterator[Value]:
        """Tensor arguments, those inside lists too."""
        for argument in self.arguments.values():
            if isinstance(argument, Value):
                yield argument
            elif isinstance(argument, list | tuple):
                yield from (item for item in argument if isinstance(item, Value))

    @property
    def family(self) -> str:
        """The operator without its overload: ``aten.add``."""
        return ".".join(self.op.split(".")[:2])

"""Finds what a model reads of its tensors' dtype, so that the graph reads it again and the slim model can be cast.

`torch.export` keeps of ``y.to(x.dtype)`` the dtype alone, and of ``torch.finfo(x.dtype).min`` the number. A dtype bears
no memory as a size can, and the user may write the same one, as norms do that are computed in float32. So the model's
Python runs once more without data, all its tensors in another dtype: what differs in a call was read from a tensor, the
last one read that has the dtype in both runs.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from graphprune.capture.remembered import Computed, DtypeOf, Expression, Log, Real, plain
from graphprune.ground.arguments import LIMITS, limit_of

__all__ = ["Casts", "DtypeRead", "dtypes_in"]


@dataclass(frozen=True)
class DtypeRead:
    """A dtype in a call that was read from a tensor."""

    plain: torch.dtype
    expression: Expression


@dataclass
class Casts:
    """A run in another dtype, call by call, beside one that is being traced.

    Args:
        calls, numbers, dtypes: of each call the function, its numbers, and its dtypes; of one that reads a dtype, that.
        note: what the user should know: in which dtype the model computes otherwise.
        reads: what was read so far in the traced run: the tensor's ticket, its dtype, and that in the other run.
    """

    calls: tuple[Any, ...]
    numbers: tuple[tuple[Any, ...], ...]
    dtypes: tuple[tuple[torch.dtype, ...], ...]
    note: str = ""
    reads: list[tuple[int, torch.dtype, torch.dtype]] = field(default_factory=list)

    def read(self, place: int, func: Any, ticket: int, dtype: torch.dtype) -> None:
        """Notes that call number ``place`` reads ``dtype`` from the tensor that has this ticket."""
        if self._known(place, func) and ticket and self.dtypes[place] and self.dtypes[place][0] != dtype:
            self.reads.append((ticket, dtype, self.dtypes[place][0]))

    def dtypes_read(self, place: int, func: Any, args: Any) -> tuple[DtypeRead, ...]:
        """The dtypes among the arguments of a call that were read from tensors."""
        if not self.reads or not self._known(place, func):
            return ()
        pairs = zip(dtypes_in(args), self.dtypes[place], strict=False)
        found = ((one, self._source(one, other)) for one, other in pairs if one != other)
        return tuple(DtypeRead(one, DtypeOf(ticket)) for one, ticket in found if ticket)

    def limits_read(self, place: int, func: Any, numbers: tuple[Any, ...], log: Log) -> tuple[Any, ...]:
        """The numbers of a call, of which those remember that are limits of a dtype that was read."""
        if not self.reads or not self._known(place, func) or len(numbers) != len(self.numbers[place]):
            return numbers
        pairs = zip(numbers, self.numbers[place], strict=True)
        return tuple(
            Real(one, found, log)
            if plain(one) is one and one != other and (found := self._limit(one, other)) is not None
            else one
            for one, other in pairs
        )

    def _known(self, place: int, func: Any) -> bool:
        return place < len(self.calls) and self.calls[place] == func

    def _source(self, one: torch.dtype, other: torch.dtype) -> int:
        return next((t for t, first, second in reversed(self.reads) if (first, second) == (one, other)), 0)

    def _limit(self, one: float, other: float) -> Expression | None:
        """``factor · finfo(dtype).name`` in both runs."""
        for ticket, first, second in reversed(self.reads):
            for name in LIMITS:
                factor = one / limit_of(first, name)
                if math.isclose(other, factor * limit_of(second, name), rel_tol=1e-3):
                    limit = Computed(limit_of, (DtypeOf(ticket), name))
                    whole = math.isclose(factor, 1, rel_tol=1e-6)
                    return limit if whole else Computed(operator.mul, (limit, factor))
        return None


def dtypes_in(value: Any) -> Iterator[torch.dtype]:
    """All dtypes in nested arguments, in order."""
    if isinstance(value, torch.dtype):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from dtypes_in(item)

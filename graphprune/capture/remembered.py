"""Numbers that remember from which sizes of tensors they were computed.

`torch.export` keeps of ``x.view(x.shape[0], x.shape[1] * 4)`` the numbers alone. While a model is traced, its Python is
given such numbers for the sizes that it reads. They are ordinary integers, and what Python computes with them is one
again: ``x.shape[1] * 4`` is 48 and knows that it is four times the size of ``x`` in dimension 1. So a literal of the
graph becomes what it was computed from. Where Python decides (``if x.shape[1] > 100``), the decision is noted: the
graph is right as long as every decision falls as it did.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from graphprune.capture.describe import is_users, within_package

__all__ = [
    "Decision",
    "DtypeOf",
    "Expression",
    "Log",
    "Real",
    "Size",
    "computed",
    "leaves",
    "plain",
    "size_of",
    "user_line",
]


@dataclass(frozen=True)
class Leaf:
    """The size of a tensor in dimension ``dim``; ``ticket`` is the number under which the tensor was noted."""

    ticket: int
    dim: int


@dataclass(frozen=True)
class DtypeOf(Leaf):
    """The dtype of a tensor."""

    dim: int = -1


@dataclass(frozen=True)
class Computed:
    """``function`` of other expressions and of plain numbers."""

    function: Callable[..., Any]
    args: tuple[Any, ...]


Expression = Leaf | Computed


@dataclass(frozen=True)
class Decision:
    """A comparison that Python made, how it fell, and the user's line."""

    compared: Computed
    outcome: bool
    line: str


@dataclass
class Log:
    """What was noted while a model was traced.

    Args:
        decisions: comparisons in order, each once.
        escaped: numbers that left for code which forgets where they come from, such as ``int(size)``: value →
            expression and the user's line.
    """

    decisions: dict[tuple[Computed, bool], Decision] = field(default_factory=dict)
    escaped: dict[float, tuple[Expression, str]] = field(default_factory=dict)

    def decide(self, compared: Computed, outcome: bool) -> bool:
        key = (compared, outcome)
        if key not in self.decisions:
            self.decisions[key] = Decision(compared, outcome, user_line())
        return outcome

    def escape(self, number: Any) -> Any:
        self.escaped.setdefault(number.plain, (number.expression, user_line()))
        return number.plain

    def origin(self, number: float) -> Expression | None:
        """What a plain number was computed from that had escaped, as its value tells; 0 and 1 tell nothing."""
        if isinstance(number, bool) or number in (0, 1) or number not in self.escaped:
            return None
        expression = self.escaped[number][0]
        return Computed(torch.sym_float, (expression,)) if isinstance(number, float) else expression

    def reminded(self, number: float) -> Any:
        """A number that remembers in the place of a plain one that had escaped; else the plain one."""
        expression = self.origin(number)
        if expression is None:
            return number
        return (Size if isinstance(number, int) else Real)(number, expression, self)  # type: ignore[arg-type]


def leaves(expression: Any) -> list[Leaf]:
    """The sizes that an expression was computed from."""
    if isinstance(expression, Computed):
        return [leaf for argument in expression.args for leaf in leaves(argument)]
    return [expression] if isinstance(expression, Leaf) else []


def plain(value: Any) -> Any:
    """The number without its memory; other values as they are."""
    return value.plain if isinstance(value, _Number) else value


class _Number:
    """What both kinds of numbers do: arithmetic that remembers, comparisons that are noted."""

    expression: Expression
    log: Log
    plain: Any

    def __bool__(self) -> bool:
        return self.log.decide(Computed(operator.ne, (self.expression, 0)), bool(self.plain))

    def __int__(self) -> int:
        whole = self._whole(math.trunc)
        return int(self.log.escape(whole))

    def __float__(self) -> float:
        return float(self.log.escape(self))

    def __hash__(self) -> int:
        return hash(self.log.escape(self))

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __ceil__(self) -> Any:
        return self._whole(math.ceil)

    def __floor__(self) -> Any:
        return self._whole(math.floor)

    def __trunc__(self) -> Any:
        return self._whole(math.trunc)

    def __round__(self, digits: Any = None) -> Any:
        return self._whole(round) if digits is None else self

    def _whole(self, function: Callable[[Any], int]) -> Any:
        if isinstance(self.plain, int):
            return self
        return _wrapped(self.log, Computed(function, (self.expression,)), function(self.plain))

    def __deepcopy__(self, memo: Any) -> Any:
        return self

    def __copy__(self) -> Any:
        return self

    def __reduce__(self) -> Any:
        return type(self.plain), (self.plain,)


class Size(_Number, int):
    """An integer that remembers."""

    def __new__(cls, value: int, expression: Expression, log: Log) -> Size:
        made = int.__new__(cls, value)
        made.plain, made.expression, made.log = value, expression, log
        return made


class Real(_Number, float):
    """A float that remembers."""

    def __new__(cls, value: float, expression: Expression, log: Log) -> Real:
        made = float.__new__(cls, value)
        made.plain, made.expression, made.log = value, expression, log
        return made


def size_of(value: int, ticket: int, dim: int, log: Log) -> Size:
    """The size ``value`` of the tensor that was noted under ``ticket``."""
    return Size(value, Leaf(ticket, dim), log)


def computed(function: Callable[..., Any], args: tuple[Any, ...], numbers: Callable[..., Any]) -> Any:
    """``function`` of numbers of which one remembers; ``numbers`` computes it of plain ones."""
    log = next(argument.log for argument in args if isinstance(argument, _Number))
    return _wrapped(log, Computed(function, tuple(map(_expression, args))), numbers(*map(plain, args)))


def _wrapped(log: Log, expression: Computed, value: Any) -> Any:
    return (Size if isinstance(value, int) else Real)(value, expression, log)


def _expression(value: Any) -> Any:
    return value.expression if isinstance(value, _Number) else value


def _method(function: Callable[..., Any], swapped: bool = False) -> Callable[..., Any]:
    """An arithmetic method: a plain number, and its expression."""

    def method(self: _Number, *others: Any) -> Any:
        if not all(isinstance(other, int | float) for other in others):
            return NotImplemented
        args = (*others, self) if swapped else (self, *others)
        value = function(*map(plain, args))
        if not isinstance(value, int | float):
            return value
        return _wrapped(self.log, Computed(function, tuple(map(_expression, args))), value)

    return method


def _comparison(function: Callable[[Any, Any], bool]) -> Callable[[Any, Any], Any]:
    def method(self: _Number, other: Any) -> Any:
        if not isinstance(other, int | float):
            return NotImplemented
        compared = Computed(function, (self.expression, _expression(other)))
        return self.log.decide(compared, function(self.plain, plain(other)))

    return method


def _forgetful(name: str) -> Callable[[Size, Any], Any]:
    """Arithmetic on bits, which gives a plain number."""
    return lambda self, other: getattr(self.log.escape(self), name)(plain(other))


for _name in "add sub mul floordiv truediv mod pow".split():
    for _kind in (Size, Real):
        setattr(_kind, f"__{_name}__", _method(getattr(operator, _name)))
        setattr(_kind, f"__r{_name}__", _method(getattr(operator, _name), swapped=True))
for _name in "neg pos abs".split():
    for _kind in (Size, Real):
        setattr(_kind, f"__{_name}__", _method(getattr(operator, _name)))
for _name in "and or xor lshift rshift rand ror rxor rlshift rrshift".split():
    setattr(Size, f"__{_name}__", _forgetful(f"__{_name}__"))
for _name in "eq ne lt le gt ge".split():
    for _kind in (Size, Real):
        setattr(_kind, f"__{_name}__", _comparison(getattr(operator, _name)))


def user_line() -> str:
    """The user's line that is running: ``package/file.py:12``."""
    frame: Any = sys._getframe(1)
    while frame is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{within_package(frame.f_code.co_filename)}:{frame.f_lineno}" if frame is not None else ""

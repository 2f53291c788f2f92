"""What is asked for: the share of a cost to keep, or an absolute amount of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor, inf, log10
from typing import Any, NamedTuple

from graphprune.axes.cost import CostFunction
from graphprune.ground.errors import BudgetError, InputError
from graphprune.ground.options import share

__all__ = ["COSTS", "Budget", "Target", "values_of"]

_COUNT = {"M": 1e6, "k": 1e3, "G": 1e9}
_BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}


class _Cost(NamedTuple):
    """What can have a budget.

    A cost is the attribute of its name of the graph or, if it is ``profiled``, of the original's profile.

    Args:
        units: in which an amount may be given; amounts are shown in the first.
    """

    units: Mapping[str, float]
    profiled: bool = False


COSTS: Mapping[str, _Cost] = {
    "macs": _Cost(_COUNT),
    "params": _Cost(_COUNT),
    "onnx_bytes": _Cost({"": 1.0, **_BYTES}, profiled=True),
    "memory": _Cost(_BYTES),
    "latency": _Cost({"ms": 1.0, "s": 1e3}, profiled=True),
}
_AMOUNT = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*([A-Za-z]+)\s*")


@dataclass(frozen=True)
class Budget:
    """A budget of ``kind``: one of `COSTS` and what to *keep* of it, or "ratio", the share of units to *remove*.

    Args:
        value: a share; with ``absolute`` an amount: a number, bytes, or milliseconds.

    Raises:
        InputError: ``value`` is out of range.
    """

    kind: str
    value: float
    absolute: bool = False

    def __post_init__(self) -> None:
        if self.kind != "ratio" and self.kind not in COSTS:
            raise InputError(f"unknown budget {self.kind!r}", f"use {', '.join(COSTS)} or ratio")
        if self.absolute and 0 < self.value < inf:
            return
        allowed = 0 <= self.value < 1 if self.kind == "ratio" else 0 < self.value <= 1
        if not allowed:
            meaning = "the share of units to remove" if self.kind == "ratio" else "the share to keep"
            raise InputError(f"{self.kind}={self.value} is out of range", f"give {meaning}, between 0 and 1")

    @classmethod
    def parse(cls, kind: str, given: float | str) -> Budget:
        """From a share such as 0.5 or "0.5", or an amount such as "4ms", "12MB", "300M" or 1_000_000.

        Raises:
            InputError: it is neither, in none of the kind's units, or out of range.
        """
        units = COSTS[kind].units if kind in COSTS else {}
        try:
            number, unit = share(kind, given), ""
        except InputError:
            match = _AMOUNT.fullmatch(str(given))
            number, unit = (float(match[1]), match[2]) if match else (0.0, "?")
        if unit not in {"", *units}:
            known = ", ".join(f"1{name}" for name in units if name)
            amounts = f", or an amount with its unit, such as {known}" if known else ""
            raise InputError(f"{kind}={given!r} is not understood", f"give a share between 0 and 1{amounts}")
        # one parameter and a half is a mistaken share
        if unit or (number > 1 and number.is_integer() and "" in units):
            return cls(kind, number * units[unit], absolute=True)
        return cls(kind, number)

    @property
    def profiled(self) -> bool:
        """Whether its cost is found in a profile of the original's ONNX file."""
        return self.kind in COSTS and COSTS[self.kind].profiled

    @property
    def request(self) -> float | str:
        """As `parse` reads it: a share, or an amount with its unit."""
        return amount(self.kind, self.value) if self.absolute else self.value


def values_of(given: Any) -> tuple[Any, ...]:
    """The values that are given for a budget: none, one, or several, as a list or with commas between them.

    >>> values_of("0.9, 50%"), values_of((0.9, "4ms")), values_of(0.5), values_of(None)
    (('0.9', '50%'), (0.9, '4ms'), (0.5,), ())
    """
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(","))
    if isinstance(given, list | tuple):
        return tuple(given)
    return () if given is None else (given,)


def amount(kind: str, value: float) -> str:
    """With the unit in which amounts of that kind are shown."""
    unit, factor = next(iter(COSTS[kind].units.items()))
    return f"{value / factor:.10g}{unit}"


@dataclass(frozen=True)
class Target:
    """A budget of a given model.

    Args:
        budget: what was asked for.
        cost: the cost it speaks of.
        scale: what the search must aim at, over what was asked for; see `graphprune.searching.latency`.
    """

    budget: Budget
    cost: CostFunction
    scale: float = 1.0

    @property
    def near(self) -> float:
        """How far below the limit, as a share of it, a cost may stay so that liked widths are kept."""
        return 0.03 if self.budget.kind == "latency" else 0.01

    @cached_property
    def limit(self) -> float:
        """The most that the slim model may cost."""
        asked = self.budget.value if self.budget.absolute else self.budget.value * self.cost.value({})
        return asked * self.scale

    def refuse(self, smallest: float) -> BudgetError:
        """The error to raise where no model costs less than ``smallest``."""
        full = self.cost.value({}) or 1
        kind = self.budget.kind
        if self.budget.absolute:
            least, advised = f"takes {amount(kind, smallest)}", amount(kind, smallest)
        else:
            least, advised = f"keeps {smallest / full:.4f}", _round_up(smallest / full)
        return BudgetError(
            f"{kind}={self.budget.request} cannot be reached: with these constraints the smallest model {least}",
            f"ask for {kind}={advised} or more, or loosen align, min_keep or protect",
        )


def _round_up(share: float) -> str:
    """Two significant digits, not below ``share``."""
    step = 10.0 ** (floor(log10(share)) - 1) if share > 0 else 0.01
    return f"{min(ceil(share / step) * step, 1.0):.2g}"

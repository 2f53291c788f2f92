"""Several values of one budget: what a sweep asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from graphprune.asking.request import Request
from graphprune.ground.errors import InputError
from graphprune.planning import COSTS, Budget
from graphprune.planning.budgets import values_of

__all__ = ["each_budget", "first_values", "swept_budget"]

KINDS = (*COSTS, "ratio")


def swept_budget(options: Mapping[str, Any]) -> str:
    """The budget that is given several values; empty where none is.

    Raises:
        InputError: two budgets are.

    >>> swept_budget({"macs": "0.9,0.5", "memory": 0.8}), swept_budget({"macs": 0.5})
    ('macs', '')
    """
    several = [kind for kind in KINDS if len(values_of(options.get(kind))) > 1]
    if len(several) > 1:
        raise InputError(f"{' and '.join(several)} have several values each", "give one of them several")
    return several[0] if several else ""


def first_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the first of the values that a budget is given."""
    return {
        name: values_of(value)[0] if name in KINDS and values_of(value) else value
        for name, value in options.items()
    }


def each_budget(first: Request, options: Mapping[str, Any]) -> tuple[str, tuple[Request, ...]]:
    """The budget that is given several values, and a request for each of them, in their order, none twice.

    Where all budgets have one value, it is the only one given.

    Args:
        first: the request for the first values.
        options: as they were given.

    Raises:
        InputError: a value is no budget, or no one budget can be told.
    """
    kind = swept_budget(options) or (first.budgets[0].kind if len(first.budgets) == 1 else "")
    if not kind:
        what = f"{first.instead[0]} has" if first.instead else "all budgets have"
        raise InputError(f"{what} one value", "give one budget several values, such as macs=(0.9, 0.7, 0.5)")
    values = dict.fromkeys(Budget.parse(kind, value).request for value in values_of(options[kind]))
    changed: list[dict[str, Any]] = [{kind: value} for value in values]
    return kind, tuple(replace(first, **one) for one in changed)

"""Operators that make tensors from nothing but sizes."""

from __future__ import annotations

from graphprune.axes.call import Call
from graphprune.axes.rules.table import Table, each, stays

__all__ = ["RULES"]


def uniform(call: Call) -> None:
    """The same value everywhere: any size will do."""


RULES: Table = {
    **each("zeros ones full empty new_zeros new_ones new_full new_empty scalar_tensor", uniform),
    **each("arange linspace eye", stays("values depend on their position")),
}

"""The type of a rule and the merging of rule tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeAlias

from graphprune.axes.call import Call
from graphprune.axes.signature import Signature, apply_signature

__all__ = ["Rule", "Table", "each", "merge", "signatures"]

Rule: TypeAlias = Callable[[Call], None]
Table: TypeAlias = dict[str, Rule]


def merge(tables: Iterable[Mapping[str, Rule]]) -> Table:
    """One table of several. Raises ValueError where an operator is given two rules."""
    merged: Table = {}
    for table in tables:
        for name, rule in table.items():
            if name in merged:
                raise ValueError(f"two rules for {name}")
            merged[name] = rule
    return merged


def each(names: str, rule: Rule) -> Table:
    """The same rule for several operators of ATen, whose ``names`` are separated by spaces."""
    return {f"aten.{name}": rule for name in names.split()}


def signatures(rows: Mapping[str, Signature]) -> Table:
    """A rule for each signature of an operator of ATen."""
    return {f"aten.{name}": partial(apply_signature, signature) for name, signature in rows.items()}

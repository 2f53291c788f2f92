"""The rules, one table per family, merged here."""

from graphprune.axes.rules import (
    contractions,
    creation,
    indexing,
    joining,
    pointwise,
    recurrent,
    reductions,
    spectral,
    views,
    windows,
)
from graphprune.axes.rules.table import Rule, Table, merge

__all__ = ["RULES", "Rule", "find_rule"]

RULES: Table = merge(
    module.RULES
    for module in (
        pointwise,
        reductions,
        contractions,
        recurrent,
        windows,
        spectral,
        views,
        joining,
        indexing,
        creation,
    )
)


def find_rule(op: str) -> Rule | None:
    """The rule of an operator such as ``aten.max.dim``: the overload's own, or the family's."""
    return RULES.get(op) or RULES.get(".".join(op.split(".")[:2]))

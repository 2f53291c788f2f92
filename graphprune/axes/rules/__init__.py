"""The rules, one table per family, merged here."""

from graphprune.axes.rules import (
    contractions,
    creation,
    indexing,
    joining,
    losses,
    matrices,
    orders,
    pointwise,
    recurrent,
    reductions,
    views,
    windows,
)
from graphprune.axes.rules.table import Rule, Table, merge
from graphprune.axes.rules.users import USERS

__all__ = ["RULES", "Rule", "find_name", "find_rule"]

RULES: Table = merge(
    module.RULES
    for module in (
        pointwise,
        reductions,
        losses,
        matrices,
        contractions,
        recurrent,
        windows,
        views,
        orders,
        joining,
        indexing,
        creation,
    )
)


def find_rule(op: str) -> Rule | None:
    """The rule of an operator such as ``aten.max.dim``: the overload's own, or the family's; ours or a user's."""
    name = find_name(op)
    return RULES.get(name) or USERS[name] if name else None


def find_name(op: str) -> str | None:
    """The name under which the rule of an operator is registered; None if there is none."""
    names = (op, ".".join(op.split(".")[:2]))
    return next((name for name in names if name in RULES or name in USERS), None)

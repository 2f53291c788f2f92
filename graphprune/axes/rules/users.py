"""Rules that users register for their own operators; ours are tables that never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from graphprune.axes.call import Call
from graphprune.axes.rules.table import Rule
from graphprune.capture.operations import Operation
from graphprune.ground.errors import RuleError

__all__ = ["USERS", "Likeness", "UserRule", "alike", "find_likeness"]


@dataclass(frozen=True)
class Likeness:
    """An operator that behaves as another one, ``op``.

    Args:
        names: the other's argument → the operator's own.
        defaults: every argument of the other in its order, with its default.
    """

    op: str
    names: Mapping[str, str]
    defaults: Mapping[str, Any]

    def given(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The operator's own ``arguments`` by the other's names."""
        return {theirs: arguments[ours] for theirs, ours in self.names.items() if ours in arguments}

    def arguments(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The same with the other's defaults filled in."""
        return {**self.defaults, **self.given(arguments)}

    def operation(self, operation: Operation) -> Operation:
        """The call, as if it were one of the other operator."""
        return replace(operation, op=self.op, arguments=self.arguments(operation.arguments))

    def own(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of the other operator that must change, by the operator's own names.

        Raises:
            RuleError: one that must change is none of the operator's.
        """
        for name, value in changes.items():
            if name not in self.names and value != self.defaults.get(name):
                raise RuleError(
                    f"an operator like {self.op} has no argument {name!r}, which must become {value}",
                    "give it that argument, or register a rule of another form",
                )
        return {self.names[name]: value for name, value in changes.items() if name in self.names}


@dataclass(frozen=True)
class UserRule:
    """A rule, and the operator that it takes after, if it does."""

    rule: Rule
    likeness: Likeness | None = None


# operator, or operator with its overload → its rule; the one table that changes, see `graphprune.rule`
USERS: dict[str, UserRule] = {}


def find_likeness(op: str) -> Likeness | None:
    """The operator that ``op`` behaves as, where its rule says so."""
    found = USERS.get(op) or USERS.get(".".join(op.split(".")[:2]))
    return found.likeness if found else None


def alike(likeness: Likeness, rule: Rule) -> Rule:
    """The rule of an operator that behaves as another one with ``rule``."""

    def apply(call: Call) -> None:
        operation = likeness.operation(call.operation)
        as_other = replace(call, operation=operation, arguments=likeness.arguments(call.arguments), sizes={})
        rule(as_other)
        call.sizes.update(likeness.own(as_other.sizes))

    return apply

"""Rules that users register for their own operators; ours are tables that never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from graphprune.axes.call import Call
from graphprune.axes.rules.table import Rule, Table
from graphprune.capture.operations import Operation
from graphprune.ground.errors import RuleError

__all__ = ["USERS", "Likeness", "find_likeness"]


@dataclass(frozen=True)
class Likeness:
    """The rule of an operator that behaves as another one, ``op``.

    Args:
        names: the other's argument → the operator's own.
        defaults: every argument of the other in its order, with its default.
        rule: the other's.
    """

    op: str
    names: Mapping[str, str]
    defaults: Mapping[str, Any]
    rule: Rule = field(compare=False)

    def __call__(self, call: Call) -> None:
        operation = self.operation(call.operation)
        as_other = replace(call, operation=operation, arguments=self.arguments(call.arguments), sizes={})
        self.rule(as_other)
        for name, axis in as_other.sizes.items():
            if name in self.names:
                call.sizes[self.names[name]] = axis
            else:
                call.pin(axis, f"the operator has no argument {name!r} that could say another size")

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


# operator, or operator with its overload → its rule; the one table that changes, see `graphprune.rule`
USERS: Table = {}


def find_likeness(op: str) -> Likeness | None:
    """The operator that ``op`` behaves as, where its rule says so."""
    found = USERS.get(op) or USERS.get(".".join(op.split(".")[:2]))
    return found if isinstance(found, Likeness) else None

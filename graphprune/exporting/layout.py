"""Python expressions as small trees, laid out within the line width the way ruff format does it.

An expression is text, or a bracket with expressions inside. A statement that does not fit on one line is
broken inside its outermost bracket, and so on inwards.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

__all__ = ["WIDTH", "Bracket", "Expression", "flat", "literal", "named", "quoted", "statement"]

WIDTH = 110


@dataclass(frozen=True)
class Bracket:
    """`opening item, item closing`, as in `torch.cat(` … `)` or `dim=[` … `]`."""

    opening: str
    items: Sequence[Expression]
    closing: str

    @property
    def is_display(self) -> bool:
        """True of a list, tuple or dict, false of a call or a subscript."""
        return not self.opening[:-1] or self.opening[-2] in "= "


Expression = str | Bracket


def named(name: str, value: Expression) -> Expression:
    """`name=value` or `name: value`, where `name` includes the separator."""
    if isinstance(value, str):
        return name + value
    return Bracket(name + value.opening, value.items, value.closing)


def quoted(text: str) -> str:
    """A string literal in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def flat(expression: Expression) -> str:
    """The expression on one line."""
    if isinstance(expression, str):
        return expression
    inner = ", ".join(flat(item) for item in expression.items)
    is_single_tuple = expression.closing == ")" and expression.is_display and len(expression.items) == 1
    return f"{expression.opening}{inner}{',' if is_single_tuple else ''}{expression.closing}"


def statement(head: str, expression: Expression, indent: int, tail: str = "") -> list[str]:
    """The lines of `head expression tail`, each within `WIDTH` where its brackets allow.

    >>> statement("x = ", Bracket("f(", ["a", "b"], ")"), indent=4)
    ['    x = f(a, b)']
    """
    margin = " " * indent
    whole = f"{margin}{head}{flat(expression)}{tail}"
    if len(whole) <= WIDTH or isinstance(expression, str) or not expression.items:
        return [whole]
    first, last = f"{margin}{head}{expression.opening}", f"{margin}{expression.closing}{tail}"
    inner = f"{margin}    {', '.join(flat(item) for item in expression.items)}"
    if len(inner) <= WIDTH and not (expression.is_display and len(expression.items) > 1):
        is_single_tuple = expression.is_display and expression.closing == ")"
        return [first, inner + ("," if is_single_tuple else ""), last]
    body = [line for item in expression.items for line in statement("", item, indent + 4, ",")]
    return [first, *body, last]


def _no_name(node: fx.Node) -> str:
    raise TypeError(f"node {node} is no constant")


def literal(value: Any, name: Callable[[fx.Node], str] = _no_name) -> Expression:
    """A constant, or a list, tuple, dict or slice of constants and nodes, as Python source.

    Args:
        value: what to print.
        name: gives the source text of a node.

    >>> flat(literal((1, [None, 2.5], "a")))
    '(1, [None, 2.5], "a")'
    """
    if isinstance(value, fx.Node):
        return name(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, (list, tuple)):
        ends = "[]" if isinstance(value, list) else "()"
        return Bracket(ends[0], [literal(item, name) for item in value], ends[1])
    if isinstance(value, dict):
        items = [named(f"{flat(literal(key))}: ", literal(item, name)) for key, item in value.items()]
        return Bracket("{", items, "}")
    if isinstance(value, slice):
        parts = (value.start, value.stop, value.step)
        return Bracket("slice(", [literal(part, name) for part in parts], ")")
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, torch.device):
        return f'torch.device("{value}")'
    if value is Ellipsis:
        return "..."
    return str(value) if isinstance(value, (torch.dtype, torch.memory_format, torch.layout)) else repr(value)

"""Operators of Python between their operands, in parentheses where another one would bind more tightly."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from torch import fx

__all__ = ["NEGATED", "infix", "operand", "prefix", "sign_of", "slice_text"]

_INFIX: dict[Callable[..., Any], str] = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.truediv: "/",
    operator.floordiv: "//",
    operator.mod: "%",
    operator.pow: "**",
    operator.matmul: "@",
    operator.and_: "&",
    operator.or_: "|",
    operator.xor: "^",
    operator.eq: "==",
    operator.ne: "!=",
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
}
_PREFIX: dict[Callable[..., Any], str] = {operator.neg: "-", operator.invert: "~", operator.not_: "not "}
# a comparison → the one that is true where it is not, of numbers
NEGATED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}

# signs, those that bind least first
_LEVELS = (
    ("not ",),
    tuple(NEGATED),
    ("|",),
    ("^",),
    ("&",),
    ("+", "-"),
    ("*", "/", "//", "%", "@"),
    ("~",),
    ("**",),
)
_TIGHTNESS = {sign: level for level, signs in enumerate(_LEVELS) for sign in signs}


def sign_of(node: fx.Node) -> str:
    """The sign that the node is written with, if it is written with one."""
    if node.op != "call_function" or node.kwargs or not callable(node.target):
        return ""
    table = {1: _PREFIX, 2: _INFIX}.get(len(node.args), {})
    return table.get(node.target, "")


def operand(text: str, sign: str, inner: str = "", is_right: bool = False) -> str:
    """``text`` as an operand of ``sign``; ``inner`` is the sign that stands in it, if any.

    >>> operand("a + b", "*", "+"), operand("a * b", "//", "*"), operand("-2", "**")
    ('(a + b)', 'a * b', '(-2)')
    """
    if text.startswith("-") and not is_right:  # its sign binds less tightly than it seems
        return f"({text})"
    if not inner:
        return text
    tightness, outer = _TIGHTNESS[inner], _TIGHTNESS[sign]
    chained = tightness == outer and (is_right or inner in NEGATED or inner == "**")
    return f"({text})" if tightness < outer or chained else text


def infix(left: str, right: str, sign: str) -> str:
    """The two operands with the sign between them."""
    is_plain = all(re.fullmatch(r"-?[\w.]+", side) for side in (left, right))
    return f"{left}{sign}{right}" if sign == "**" and is_plain else f"{left} {sign} {right}"


def prefix(text: str, sign: str, inner: str) -> str:
    """The operand with the sign before it."""
    return f"{sign}{operand(text, '~' if sign == '-' else sign, inner)}"


def slice_text(start: str, stop: str, step: str) -> str:
    """``start:stop:step``, with spaces around the colons where something is computed there.

    >>> slice_text("1", "-1", ""), slice_text("", "a // 2", "")
    ('1:-1', ': a // 2')
    """
    parts = [start, stop, step] if step else [start, stop]
    if not any(" " in part for part in parts):
        return ":".join(parts)
    return " : ".join(parts).replace(":  :", "::").strip()

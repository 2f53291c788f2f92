"""Signatures: an operator's coupling in einsum-like notation.

    conv2d   b (g i) x*, (g o) i k*, (g o) -> b (g o) y*

A name is an axis; the same name everywhere is the same axis. ``(g i)`` is a product, outer to inner.
``...`` stands for leading dimensions that broadcast. ``x*`` stands for any number of dimensions that belong
to a window: they are pinned. ``s+`` stands for any number of dimensions that pass through. Names that
take part in no output are summed away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

from graphprune.axes.algebra import Axis
from graphprune.axes.call import Call, Operand

__all__ = ["Signature", "apply_signature"]

_MANY = ("...", "*", "+")
_TOKEN = re.compile(r"\(([^)]*)\)|(\.\.\.)|(\w+[*+]?)")


@dataclass(frozen=True)
class Signature:
    """One declarative rule.

    Args:
        text: the notation above, operands in the order of ``arguments``.
        arguments: names of the operator's tensor arguments.
        sizes: axis name → name of the integer argument that gives its size (``{"g": "groups"}``).
        loops: the axes whose sizes multiply to the multiply-accumulates; empty if there are none.
        window: the reason with which starred dimensions are pinned.
    """

    text: str
    arguments: tuple[str, ...]
    sizes: Mapping[str, str] = field(default_factory=dict)
    loops: str = ""
    window: str = "a window slides along this dimension"

    @cached_property
    def parsed(self) -> tuple[tuple[str, ...], ...]:
        """Operands, then the output, each a tuple of tokens."""
        left, _, right = self.text.partition("->")
        return tuple(_tokens(operand) for operand in (*left.split(","), right))


def _tokens(operand: str) -> tuple[str, ...]:
    return tuple(match.group(0).strip("()") for match in _TOKEN.finditer(operand))


def apply_signature(signature: Signature, call: Call) -> None:
    """Adds the equations of ``signature`` to ``call``."""
    known: dict[str, int] = {name: int(call[argument]) for name, argument in signature.sizes.items()}
    bound: dict[str, Axis] = {}
    starred: dict[str, tuple[Axis, ...]] = {}
    operands: list[Any] = [call.get(name) for name in signature.arguments]
    patterns = signature.parsed
    for operand, tokens in zip([*operands, call.output], patterns, strict=True):
        if isinstance(operand, Operand):
            _match(call, operand, tokens, known, bound, starred)
    for star, axes in starred.items():
        if star.endswith("*"):
            call.pin(axes, signature.window)
    target = starred.get("...", ())
    for operand, tokens in zip(operands, patterns, strict=False):
        if isinstance(operand, Operand) and "..." in tokens:
            _broadcast(call, operand, len(tokens) - 1, target)
    if signature.loops:
        names = signature.loops.split()
        loops = (starred[name] if name in starred else (bound[name],) for name in names)
        call.loops.append(tuple(axis for axes in loops for axis in axes))


def _match(
    call: Call,
    operand: Operand,
    tokens: tuple[str, ...],
    known: dict[str, int],
    bound: dict[str, Axis],
    starred: dict[str, tuple[Axis, ...]],
) -> None:
    dims = list(operand.dims)
    for position, token in enumerate(tokens):
        if token.endswith(_MANY):
            end = len(dims) - (len(tokens) - position - 1)
            several = tuple(dims[position:end])
            if token.endswith("+"):
                for axis, other in zip(starred.get(token, several), several, strict=True):
                    call.unify(axis, other)
            starred[token] = several
            dims[position:end] = [call.equations.atom(1)]
    for token, axis in zip(tokens, dims, strict=True):
        if token.endswith(_MANY):
            continue
        names = token.split()
        if len(names) == 1:
            _bind(call, names[0], axis, known, bound)
        else:
            call.unify(axis, call.equations.product(_factors(call, names, axis.size, known, bound)))


def _bind(call: Call, name: str, axis: Axis, known: dict[str, int], bound: dict[str, Axis]) -> None:
    if name in bound:
        if axis.size == bound[name].size:
            call.unify(bound[name], axis)
        return
    bound[name], known[name] = axis, axis.size


def _factors(
    call: Call, names: list[str], size: int, known: dict[str, int], bound: dict[str, Axis]
) -> list[Axis]:
    """Axes of a product's factors; the one size that is not known follows from the others."""
    for name in names:
        if name not in known:
            known[name] = size // prod(known[other] for other in names if other in known)
        if name not in bound:
            bound[name] = call.equations.atom(known[name])
    return [bound[name] for name in names]


def _broadcast(call: Call, operand: Operand, plain: int, target: tuple[Axis, ...]) -> None:
    leading = operand.dims[: len(operand.dims) - plain]
    for source, result in zip(leading[::-1], target[::-1], strict=False):
        if source.size == result.size:
            call.unify(result, source)

"""Signatures: an operator's coupling in einsum-like notation.

    conv2d   b (g i) x*, (g o) i k*, (g o) -> b (g o) y*

A name is an axis; the same name everywhere is the same axis. ``(g i)`` is a product, outer to inner.
``...`` stands for leading dimensions that broadcast. ``x*`` stands for any number of dimensions that belong
to a window: they are pinned. ``s+`` stands for any number of dimensions that pass through. An operand has at
most one of these three; their names may be left out. A dimension of size 1 is repeated along its name's axis.
Names that take part in no output are summed away. Several outputs are separated by commas, as operands are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

from graphprune.axes.algebra import Axis
from graphprune.axes.call import Call, Operand

__all__ = ["Signature", "apply_signature", "check_notation"]

_MANY = ("...", "*", "+")
_TOKEN = re.compile(r"\(([^)]*)\)|(\.\.\.)|(\w*[*+]|\w+)")
_OPERAND = re.compile(r"\s*(?:(?:\(\s*\w+(?:\s+\w+)*\s*\)|\.\.\.|\w*[*+]|\w+)(?:\s+|(?=\()|$))*")


@dataclass(frozen=True)
class Signature:
    """One declarative rule.

    Args:
        text: the notation above, operands in the order of ``arguments``, then all outputs.
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
        """Operands, then the outputs, each a tuple of tokens."""
        return tuple(_tokens(operand) for side in self.text.split("->") for operand in side.split(","))


def _tokens(operand: str) -> tuple[str, ...]:
    return tuple(match.group(0).strip("()") for match in _TOKEN.finditer(operand))


def check_notation(text: str, sized: Iterable[str] = ()) -> None:
    """Refuses a signature's text that means nothing.

    Args:
        sized: axes that have their sizes from arguments, so that no operand need have them.

    Raises:
        ValueError: what is wrong with it.
    """
    if text.count("->") != 1:
        raise ValueError("a signature has one '->' between operands and outputs")
    left, right = ([*map(_checked, side.split(","))] for side in text.split("->"))
    known = {name for tokens in left for token in tokens for name in token.split()} | set(sized)
    for name in (name for tokens in right for token in tokens for name in token.split()):
        if name not in known and not name.endswith("*"):
            raise ValueError(f"no operand has the axis {name!r} of an output")


def _checked(operand: str) -> tuple[str, ...]:
    if not _OPERAND.fullmatch(operand):
        raise ValueError(f"{operand.strip()!r} is no list of names, products '(a b)', '...', 'x*' or 's+'")
    tokens = _tokens(operand)
    if sum(token.endswith(_MANY) for token in tokens) > 1:
        raise ValueError(f"{operand.strip()!r} has several of '...', 'x*' and 's+', so that none is certain")
    return tokens


def apply_signature(signature: Signature, call: Call) -> None:
    """Adds the equations of ``signature`` to ``call``.

    Raises:
        ValueError: the operands do not have the dimensions or sizes that the signature says.
    """
    sizes = {name: int(call[argument]) for name, argument in signature.sizes.items()}
    binding = _Binding(call, signature.window, sizes)
    operands: list[Any] = [*(call.get(name) for name in signature.arguments), *call.outputs]
    present = [pair for pair in zip(operands, signature.parsed, strict=True) if isinstance(pair[0], Operand)]
    for operand, tokens in present:
        binding.match(operand, tokens)
    names = [set(" ".join(tokens).split()) for _, tokens in present]
    results = len(call.outputs)
    binding.line_up(names[:-results], set.intersection(*names[-results:]))
    for name, argument in signature.sizes.items():
        call.sizes[argument] = binding.sized(name, int(call[argument]))
    if signature.loops:
        call.loops.append(binding.axes(signature.loops.split()))


class _Binding:
    """The axes that a signature's tokens stand for, as operand after operand is matched."""

    def __init__(self, call: Call, window: str, sizes: dict[str, int]) -> None:
        self.call = call
        self.window = window
        self.sizes = sizes
        self.bound: dict[str, Axis] = {}
        self.several: dict[str, tuple[Axis, ...]] = {}

    def axes(self, names: list[str]) -> tuple[Axis, ...]:
        """All axes of ``names``."""
        found = (self.several[name] if name in self.several else (self.bound[name],) for name in names)
        return tuple(axis for axes in found for axis in axes)

    def match(self, operand: Operand, tokens: tuple[str, ...]) -> None:
        dims = list(operand.dims)
        place = next((place for place, token in enumerate(tokens) if token.endswith(_MANY)), None)
        if place is not None:
            end = len(dims) - (len(tokens) - place - 1)
            self._many(tokens[place], tuple(dims[place:end]))
            dims[place:end] = []
            tokens = tokens[:place] + tokens[place + 1 :]
        for token, axis in zip(tokens, dims, strict=True):
            names = token.split()
            if len(names) == 1:
                self._one(names[0], axis)
            else:
                self.call.unify(axis, self.call.equations.product(self._factors(names, axis.size)))

    def sized(self, name: str, size: int) -> Axis:
        """The axis of ``name``, which must have the size that an argument says."""
        axis = self.bound[name]
        if axis.size != size:
            raise ValueError(f"the axis {name} has size {axis.size}, its argument says {size}")
        return axis

    def line_up(self, inputs: list[set[str]], kept: set[str]) -> None:
        """A name that some output has not lines up all positions of axes that only some of its operands have."""
        for name in sorted({name for names in inputs for name in names} - kept):
            holders = [names for names in inputs if name in names]
            others = sorted(
                {other for names in holders for other in names if not all(other in h for h in holders)}
            )
            for axis in self.axes([name]):
                self.call.across.extend((axis, other) for other in self.axes(others))

    def _many(self, token: str, axes: tuple[Axis, ...]) -> None:
        if token == "...":
            axes = self._broadcast(self.several.get(token, ()), axes)
        elif token.endswith("+"):
            for axis, other in zip(self.several.get(token, axes), axes, strict=True):
                self.call.unify(axis, other)
        else:
            self.call.pin(axes, self.window)
        self.several[token] = axes

    def _broadcast(self, first: tuple[Axis, ...], second: tuple[Axis, ...]) -> tuple[Axis, ...]:
        """Both right-aligned; the longer one leads."""
        longer, shorter = sorted((first, second), key=len, reverse=True)
        lead = len(longer) - len(shorter)
        return (*longer[:lead], *map(self._same, longer[lead:], shorter))

    def _one(self, name: str, axis: Axis) -> None:
        axis = self._same(self.bound.get(name, axis), axis)
        self.bound[name], self.sizes[name] = axis, axis.size

    def _same(self, first: Axis, second: Axis) -> Axis:
        """The axis of both; one of size 1 is repeated along the other."""
        if 1 in (first.size, second.size):
            return first if second.size == 1 else second
        self.call.unify(first, second)
        return first

    def _factors(self, names: list[str], size: int) -> list[Axis]:
        """Axes of a product's factors; the one size that is not known follows from the others."""
        for name in names:
            if name not in self.sizes:
                self.sizes[name] = size // prod(self.sizes[other] for other in names if other in self.sizes)
            if name not in self.bound:
                self.bound[name] = self.call.equations.atom(self.sizes[name])
        return [self.bound[name] for name in names]

"""Signatures: which dimensions of an operator are the same axis, in a notation like einsum's.

    conv2d   b (g i) x*, (g o) i k*, (g o) -> b (g o) y*

Operands stand before the arrow and outputs after it, separated by commas; each lists its dimensions.

| token | meaning |
| --- | --- |
| ``c`` | one dimension. The same name everywhere is the same axis; a dimension of size 1 is repeated along it |
| ``(g i)`` | one dimension that is a product of axes, outer to inner |
| ``...`` | any number of leading dimensions, which broadcast |
| ``s+`` | any number of dimensions that pass through as they are |
| ``x*`` | any number of dimensions that belong to a window; nothing is removed from them |

An operand has at most one of the last three, and ``s`` and ``x`` may be left out. An axis that no output has is
summed away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

from graphprune.axes.algebra import Axis
from graphprune.axes.call import Call, Misfit, Operand

__all__ = ["Signature"]

_FORM = 'write it as "b c, c -> b c"'
_MANY = ("...", "*", "+")
_TOKEN = re.compile(r"\(([^)]*)\)|(\.\.\.)|(\w*[*+]|\w+)")
_OPERAND = re.compile(r"\s*(?:(?:\(\s*\w+(?:\s+\w+)*\s*\)|\.\.\.|\w*[*+]|\w+)(?:\s+|(?=\()|$))*")


@dataclass(frozen=True)
class Signature:
    """One declarative rule; called with a `Call` it adds its equations.

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
        return tuple(_tokens(operand) for operand in re.split("->|,", self.text))

    @property
    def operands(self) -> int:
        """The number of operands; what follows in ``parsed`` are the outputs."""
        return self.text.partition("->")[0].count(",") + 1

    def __call__(self, call: Call) -> None:
        """Adds its equations to ``call``.

        Raises:
            Misfit: the tensors do not have the dimensions or sizes that the signature says.
        """
        try:
            _apply(self, call)
        except Misfit as misfit:
            raise Misfit(f"in {self.text!r}, {misfit}", misfit.remedy) from None

    def check(self) -> None:
        """Refuses what means nothing.

        Raises:
            Misfit: what is wrong with it.
        """
        if self.text.count("->") != 1:
            raise Misfit("a signature has one '->' between operands and outputs", _FORM)
        for operand in map(str.strip, re.split("->|,", self.text)):
            if not _OPERAND.fullmatch(operand):
                raise Misfit(f"{operand!r} is no list of names, products '(a b)', '...', 'x*' or 's+'", _FORM)
            if sum(token.endswith(_MANY) for token in _tokens(operand)) > 1:
                raise Misfit(
                    f"{operand!r} has several of '...', 'x*' and 's+', so that none is certain", _FORM
                )
        known, results = map(_names, (self.parsed[: self.operands], self.parsed[self.operands :]))
        for name in results:
            if name not in (*known, *self.sizes) and not name.endswith("*"):
                raise Misfit(f"no operand has the axis {name!r} of an output", _FORM)
        for option, names in (("loops", self.loops.split()), ("sizes", list(self.sizes))):
            if unknown := [name for name in names if name not in (*known, *results)]:
                raise Misfit(
                    f"{option} mentions {unknown[0]!r}, which is no axis of it", f"correct {option}="
                )


def _tokens(operand: str) -> tuple[str, ...]:
    return tuple(match.group(0).strip("()") for match in _TOKEN.finditer(operand))


def _names(operands: Iterable[tuple[str, ...]]) -> dict[str, None]:
    """The names in several operands, each once, in order."""
    return dict.fromkeys(name for tokens in operands for token in tokens for name in token.split())


def _apply(signature: Signature, call: Call) -> None:
    binding = _Binding(call, signature)
    operands: list[Any] = [*(call.get(name) for name in signature.arguments), *call.outputs]
    if len(operands) != len(signature.parsed):
        raise Misfit(
            f"there are {len(signature.parsed)} operands and outputs for {len(operands)} tensors",
            "write one operand for each tensor argument that is named, and one output for each result",
        )
    present = [pair for pair in zip(operands, signature.parsed, strict=True) if isinstance(pair[0], Operand)]
    for operand, tokens in present:
        binding.look_ahead(operand, tokens)
    for operand, tokens in present:
        binding.match(operand, tokens)
    names = [set(_names([tokens])) for _, tokens in present]
    results = len(call.outputs)
    binding.line_up(names[:-results], set.intersection(*names[-results:]))
    for name, argument in signature.sizes.items():
        call.sizes[argument] = binding.sized(name, argument)
    if signature.loops:
        call.loops.append(binding.axes(signature.loops.split()))


class _Binding:
    """The axes that a signature's tokens stand for, as operand after operand is matched.

    ``bound`` holds the axis of a name, ``several`` those of '...', 'x*' or 's+'; ``sizes`` holds what is known of the
    sizes of names, and ``seen`` the dimensions that say so, where it is not an argument.
    """

    def __init__(self, call: Call, signature: Signature) -> None:
        self.call = call
        self.signature = signature
        self.bound: dict[str, Axis] = {}
        self.several: dict[str, tuple[Axis, ...]] = {}
        self.sizes = {name: self._integer(argument) for name, argument in signature.sizes.items()}
        self.seen: dict[str, Axis] = {}
        self.ahead: dict[str, Axis] = {}

    def look_ahead(self, operand: Operand, tokens: tuple[str, ...]) -> None:
        """Notes the dimensions that a name has for itself: a product before them may need to know their sizes."""
        many = next((place for place, token in enumerate(tokens) if token.endswith(_MANY)), len(tokens))
        behind = len(tokens) - many - 1
        pairs = [*zip(tokens[:many], operand.dims, strict=False)]
        if behind > 0:
            pairs += zip(tokens[-behind:], operand.dims[-behind:], strict=False)
        self.ahead |= {name: axis for name, axis in pairs if " " not in name and axis.size > 1}

    def _integer(self, argument: str) -> int:
        value = self.call[argument]
        if not isinstance(value, int):
            raise Misfit(f"the argument {argument} is {value}, no size", "leave it out of sizes=")
        return value

    def axes(self, names: Iterable[str]) -> tuple[Axis, ...]:
        """All axes of ``names``."""
        found = (self.several[name] if name in self.several else (self._axis(name),) for name in names)
        return tuple(axis for axes in found for axis in axes)

    def _axis(self, name: str) -> Axis:
        if name not in self.bound:
            raise Misfit(f"no tensor of this call has {name!r}", "leave it out of loops= and sizes=")
        return self.bound[name]

    def sized(self, name: str, argument: str) -> Axis:
        """The axis of ``name``, which must have the size that ``argument`` says."""
        axis, said = self._axis(name), int(self.call[argument])
        if axis.size != said:
            raise Misfit(
                f"{self._told(name, axis)}, and {said} by the argument {argument}",
                "correct sizes=, or name the factor of a product that has this size: '(g i)'",
            )
        return axis

    def match(self, operand: Operand, tokens: tuple[str, ...]) -> None:
        """Takes the dimensions of ``operand`` for ``tokens``."""
        dims = list(operand.dims)
        place = next((place for place, token in enumerate(tokens) if token.endswith(_MANY)), None)
        single = len(tokens) - (place is not None)
        if len(dims) < single or (place is None and len(dims) > single):
            name = next(name for name, item in self.call.tensors.items() if item is operand)
            written = " ".join(f"({token})" if " " in token else token for token in tokens)
            least = "" if place is None else "at least "
            raise Misfit(
                f"{name} has {len(dims)} dimension{'s' * (len(dims) != 1)}, {written!r} {least}{single}",
                "write one name for each dimension; '...', 's+' and 'x*' stand for any number",
            )
        if place is not None:
            end = len(dims) - (len(tokens) - place - 1)
            self._many(tokens[place], tuple(dims[place:end]))
            dims[place:end] = []
            tokens = tokens[:place] + tokens[place + 1 :]
        for token, axis in zip(tokens, dims, strict=True):
            names = token.split()
            if len(names) == 1:
                self._one(token, axis)
            else:
                self.call.unify(axis, self.call.equations.product(self._factors(names, axis)))

    def line_up(self, operands: list[set[str]], kept: set[str]) -> None:
        """What is summed away must lose the same units for every position that not all its operands have.

        In "i k, k j -> i j" k is summed: every row i of the first operand loses the same units of k, and so does
        every column j of the second. See `Call.across`.

        Args:
            operands: names of the axes of each operand.
            kept: names that every output has.
        """
        for name in sorted(set[str]().union(*operands) - kept):
            holders = [names for names in operands if name in names]
            others = sorted(set[str]().union(*holders) - holders[0].intersection(*holders))
            pairs = ((axis, other) for axis in self.axes([name]) for other in self.axes(others))
            self.call.across.extend(pairs)

    def _many(self, token: str, axes: tuple[Axis, ...]) -> None:
        known = self.several.get(token)
        if token == "...":
            axes = self._broadcast(known or (), axes)
        elif token.endswith("*"):
            self.call.pin(axes, self.signature.window)
        elif known is not None:
            self._pass_through(token, known, axes)
        self.several[token] = axes

    def _pass_through(self, token: str, known: tuple[Axis, ...], axes: tuple[Axis, ...]) -> None:
        if len(known) != len(axes):
            counts = (
                f"{len(some)} ({', '.join(map(self.call.place, some)) or 'none'})" for some in (known, axes)
            )
            raise Misfit(
                f"{token!r} stands for {' and for '.join(counts)} dimensions",
                "write 'x*' for dimensions that become fewer or more, and '...' for those that broadcast",
            )
        for axis, other in zip(known, axes, strict=True):
            self._join(token, axis, other)

    def _broadcast(self, first: tuple[Axis, ...], second: tuple[Axis, ...]) -> tuple[Axis, ...]:
        """Both right-aligned; the longer one leads."""
        longer, shorter = sorted((first, second), key=len, reverse=True)
        lead = len(longer) - len(shorter)
        return (
            *longer[:lead],
            *(self._same("...", *pair) for pair in zip(longer[lead:], shorter, strict=True)),
        )

    def _one(self, name: str, axis: Axis) -> None:
        if name in self.bound:
            axis = self._same(name, self.bound[name], axis)
        if axis is not self.bound.get(name):
            self.seen[name] = axis
        self.bound[name], self.sizes[name] = axis, axis.size

    def _same(self, name: str, first: Axis, second: Axis) -> Axis:
        """The axis of both; one of size 1 is repeated along the other."""
        if 1 in (first.size, second.size):
            return first if second.size == 1 else second
        self._join(name, first, second)
        return first

    def _join(self, name: str, first: Axis, second: Axis) -> None:
        if first.size != second.size:
            raise Misfit(
                f"{self._told(name, first)}, and {self.call.shown(second.size)} at {self.call.place(second)}",
                "give axes that differ different names; a dimension in parts is a product: '(g c)'",
            )
        self.call.unify(first, second)

    def _told(self, name: str, axis: Axis | None = None) -> str:
        """What is known of a size, and from where: "'c' is 5 at x[1]", "'g' is 2 by the argument groups"."""
        size, axis = axis.size if axis else self.sizes[name], self.seen.get(name, axis)
        by = f"at {self.call.place(axis)}" if axis else f"by the argument {self.signature.sizes[name]}"
        return f"{name!r} is {self.call.shown(size)} {by}"

    def _factors(self, names: list[str], whole: Axis) -> list[Axis]:
        """Axes of a product's factors; the one size that is not known follows from the others."""
        unknown = [name for name in names if name not in self.sizes]
        for name in unknown if len(unknown) > 1 else ():
            if name in self.ahead:
                self.sizes[name], self.seen[name] = self.ahead[name].size, self.ahead[name]
        unknown = [name for name in names if name not in self.sizes]
        if len(unknown) > 1:
            raise Misfit(
                f"nothing says how {self.call.place(whole)} of size {self.call.shown(whole.size)} is divided among "
                f"{' and '.join(map(repr, unknown))}",
                "name the arguments that give the sizes in sizes=, for all factors but one",
            )
        for name in names:
            known = prod(self.sizes[other] for other in names if other in self.sizes)
            if name not in self.sizes and known and whole.size % known == 0:
                self.sizes[name], self.seen[name] = whole.size // known, whole
        if not self.sizes.keys() >= set(names) or prod(self.sizes[name] for name in names) != whole.size:
            told = map(self._told, filter(self.sizes.__contains__, names))
            raise Misfit(
                f"{self.call.place(whole)} of size {self.call.shown(whole.size)} is no '({' '.join(names)})': "
                + ", ".join(told),
                "sizes= says which argument is the size of a factor; correct it, or the factors and their order",
            )
        for name in names:
            self.bound.setdefault(name, self.call.equations.atom(self.sizes[name]))
        return [self.bound[name] for name in names]

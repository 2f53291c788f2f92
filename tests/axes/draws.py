"""Ways to call an operator on small random tensors, written shortly.

``on(x("b (g i) 6"), 2)`` draws a tensor of three dimensions and hands over a 2. Letters are sizes between
2 and 5, equal letters equal sizes; parentheses multiply, ``a+b`` adds.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor

__all__ = ["Draw", "Row", "booleans", "integers", "on", "rows", "shape", "size", "x"]

torch.set_num_threads(1)  # tiny tensors gain nothing from a second one

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Make = Callable[["Draw"], Arguments]


class Draw:
    """Sizes and tensors of one call."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._sizes: dict[str, int] = {}

    def size(self, token: str) -> int:
        """``7``, a letter, a product ``2*a`` or a sum ``a+b``."""
        if "+" in token:
            return sum(map(self.size, token.split("+")))
        if "*" in token:
            return prod(map(self.size, token.split("*")))
        if token.isdigit():
            return int(token)
        return self._sizes.setdefault(token, self._random.randint(2, 5))

    def shape(self, text: str) -> list[int]:
        """``b (g i) 6`` with numbers in the place of letters."""
        inside = False
        shape: list[int] = []
        for token in text.replace("(", " ( ").replace(")", " ) ").split():
            if token in "()":
                inside = token == "("
                shape += [1] if inside else []
            elif inside:
                shape[-1] *= self.size(token)
            else:
                shape.append(self.size(token))
        return shape

    def normal(self, text: str) -> Tensor:
        return torch.randn(self.shape(text), generator=self._generator, dtype=torch.float64)

    def unit(self, text: str) -> Tensor:
        """Between 0.05 and 0.95."""
        return 0.05 + 0.9 * torch.rand(self.shape(text), generator=self._generator, dtype=torch.float64)

    def positive(self, text: str) -> Tensor:
        """Between 1.1 and 2.1."""
        return 1.1 + torch.rand(self.shape(text), generator=self._generator, dtype=torch.float64)

    def coarse(self, text: str) -> Tensor:
        """-1, 0 or 1."""
        return self.integers(text, 3).double() - 1

    def certain(self, text: str) -> Tensor:
        """0 or 1, as probabilities."""
        return self.integers(text, 2).double()

    def signs(self, text: str) -> Tensor:
        """-1 or 1."""
        return self.integers(text, 2).double() * 2 - 1

    def definite(self, text: str) -> Tensor:
        """Symmetric matrices with an inverse and a root."""
        values = self.normal(text)
        return values @ values.mT + torch.eye(values.shape[-1], dtype=torch.float64)

    def pivots(self, text: str) -> Tensor:
        """Each row in turn changes places with itself or a later one; rows count from one."""
        shape = self.shape(text)
        first = torch.arange(1, shape[-1] + 1)
        later = torch.rand(shape, generator=self._generator) * (shape[-1] + 1 - first)
        return (first + later.floor()).int()

    def scales(self, text: str) -> Tensor:
        """Positive, in single precision."""
        return self.positive(text).float()

    def single(self, text: str) -> Tensor:
        """In single precision."""
        return self.normal(text).float()

    def whole(self, text: str) -> Tensor:
        """Small integers in single precision, so that sums are exact in any order."""
        return (self.integers(text, 7) - 3).float()

    def complex(self, text: str) -> Tensor:
        return torch.complex(self.normal(text), self.normal(text))

    def integers(self, text: str, high: int = 8) -> Tensor:
        return torch.randint(high, self.shape(text), generator=self._generator)

    def booleans(self, text: str) -> Tensor:
        return torch.rand(self.shape(text), generator=self._generator) > 0.5


@dataclass(frozen=True)
class _Drawn:
    """An argument that a `Draw` makes: the method and its arguments."""

    method: str
    arguments: tuple[Any, ...]


def x(text: str, kind: str = "normal") -> _Drawn:
    """A tensor of that shape, of any kind that `Draw` knows."""
    return _Drawn(kind, (text,))


def integers(text: str, high: int) -> _Drawn:
    return _Drawn("integers", (text, high))


def booleans(text: str) -> _Drawn:
    return _Drawn("booleans", (text,))


def shape(text: str) -> _Drawn:
    return _Drawn("shape", (text,))


def size(token: str) -> _Drawn:
    return _Drawn("size", (token,))


def on(*args: Any, **kwargs: Any) -> Make:
    """A call on these arguments."""

    def made(draw: Draw, argument: Any) -> Any:
        if isinstance(argument, _Drawn):
            return getattr(draw, argument.method)(*argument.arguments)
        return [made(draw, item) for item in argument] if isinstance(argument, list) else argument

    def make(draw: Draw) -> Arguments:
        return tuple(made(draw, item) for item in args), {
            name: made(draw, item) for name, item in kwargs.items()
        }

    return make


@dataclass(frozen=True)
class Row:
    """A way to call ``op``.

    Args:
        op: the operator with its overload, "aten.add.Tensor".
        make: draws the arguments.
        masked: for operators that average, normalise or compare along an axis, their definition on the kept
            positions, written independently: (arguments by name, masks by name) → results.
        random: values are arbitrary; only shapes can be compared.
        least: units that every axis keeps.
        feeds_back: the argument whose axes are summed away even where the result has them too, because results
            are read again, step by step; they are contracted, not restricted.
        crashes: the operator reads foreign memory where operands do not belong together, so pins are not tried.
        note: what tells it from other rows of the same operator.
    """

    op: str
    make: Make
    masked: Callable[[dict[str, Any], dict[str, Tensor]], Any] | None = None
    random: bool = False
    least: int = 1
    feeds_back: str = ""
    crashes: bool = False
    note: str = ""

    @cached_property
    def overload(self) -> Any:
        """The real operator."""
        space, packet, name = self.op.split(".")
        return getattr(getattr(getattr(torch.ops, space), packet), name)

    @property
    def family(self) -> str:
        return self.op.rpartition(".")[0]


def rows(names: str, *makes: Make, note: str = "", **options: Any) -> list[Row]:
    """Every way for every operator of ``names`` (with an overload, or "default"; with a namespace, or "aten")."""
    return [
        Row(
            _full_name(name),
            make,
            note=f"{note}{index}" if index else note,
            **options,
        )
        for name in names.split()
        for index, make in enumerate(makes)
    ]


def _full_name(name: str) -> str:
    space, packet, overload = {
        0: ("aten", name, "default"),
        1: ("aten", *name.split(".")),
        2: tuple(name.split(".")),
    }[name.count(".")]
    return f"{space}.{packet}.{overload}"

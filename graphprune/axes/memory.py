"""Peak activation memory of one forward pass, as a function of the sizes of the atoms."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch

from graphprune.axes.cost import Polynomial
from graphprune.axes.terms import Atom, Term
from graphprune.capture.operations import Operation
from graphprune.capture.operators import makes_view
from graphprune.capture.program import Program

__all__ = ["PeakMemory", "peak_memory"]


@dataclass(frozen=True)
class PeakMemory:
    """The bytes that are alive in the fullest step of a forward pass.

    Args:
        buffers: the bytes of each tensor that is computed or given, one monomial each.
        lives: the first and the last step in which each of them is alive.
    """

    buffers: Polynomial
    lives: tuple[tuple[int, int], ...]

    @cached_property
    def steps(self) -> int:
        """Number of steps."""
        return max((last for _, last in self.lives), default=0) + 1

    def value(self, sizes: Mapping[Atom, int]) -> float:
        """Bytes at the peak; atoms that are not in ``sizes`` keep their size."""
        sizes = {**self.buffers.unit, **sizes}
        changes: list[float] = [0] * (self.steps + 1)
        for monomial, (first, last) in zip(self.buffers.monomials, self.lives, strict=True):
            size = monomial.value(sizes)
            changes[first] += size
            changes[last + 1] -= size
        return max(accumulate(changes, initial=0.0))

    def change(self, sizes: Mapping[Atom, int], to: Mapping[Atom, int]) -> float:
        """By how many bytes the peak changes when the atoms in ``to``, and no others, get those sizes."""
        return self.value({**sizes, **to}) - self.value(sizes)


def peak_memory(
    program: Program,
    terms: Mapping[str, tuple[Term, ...]],
    free: Container[Atom],
    unit: Mapping[Atom, int],
) -> PeakMemory:
    """The memory when operators run in the program's order and each value is freed after its last use.

    Inputs, outputs and what lies between them count; stored tensors do not. Views share the memory of their source,
    as they do in PyTorch, and so do results that are written in place. The workspace of kernels is not counted.

    Args:
        terms: value name → one term per dimension.
        free: atoms whose sizes may change.
        unit: sizes of the others where they differ from those traced, such as the batch size.
    """
    sources = _sources(program)
    end = len(program.operations)
    lives = {name: (0, 0) for name in program.inputs if name in program.values}
    for step, operation in enumerate(program.operations, 1):
        used = [sources.get(value.name, value.name) for value in (*operation.inputs, *operation.outputs)]
        lives |= {name: (lives.get(name, (step, step))[0], step) for name in used}
    for name in program.output_names:
        name = sources.get(name, name)
        if name in lives:
            lives[name] = (lives[name][0], end)
    kept = [name for name in lives if name not in program.attributes]
    products = ((name, terms[name]) for name in kept)
    prices = {name: _bytes(program.values[name].dtype) for name in kept}
    buffers = Polynomial.of(products, free, unit, prices)
    return PeakMemory(buffers, tuple(lives[name] for name in kept))


def _sources(program: Program) -> dict[str, str]:
    """Value → the one whose memory it shares."""
    sources: dict[str, str] = {}
    for operation in program.operations:
        first = next(iter(operation.inputs), None)
        if first is not None and _shares(operation):
            root = sources.get(first.name, first.name)
            sources |= {value.name: root for value in operation.outputs}
    return sources


def _shares(operation: Operation) -> bool:
    off = operation.family == "aten.dropout" and operation.arguments.get("train") is False
    return off or makes_view(operation.op)


def _bytes(dtype: str) -> int:
    return int(getattr(torch, dtype).itemsize)

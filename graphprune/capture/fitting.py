"""The example of a program at other sizes, with integers that still mean something there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from graphprune.capture.execution import run
from graphprune.capture.inputs import Inputs
from graphprune.capture.program import Program

__all__ = ["fitting", "fitting_everywhere"]


def fitting(program: Program, sizes: Mapping[str, int]) -> list[Any]:
    """The leaves of `Program.example_at`, on which the program runs.

    Integers stay as they are, as long as it does. Where they count what has become less, as the nodes of a graph do,
    they are brought below the least size.
    """
    leaves = program.flat_inputs(*program.example_at(sizes))
    least = _least(program, sizes)
    if least and any(map(_counts, leaves)) and not _runs(program, leaves):
        return [leaf % least if _counts(leaf) else leaf for leaf in leaves]
    return leaves


def fitting_everywhere(program: Program, every: Iterable[Mapping[str, int]]) -> Inputs:
    """The example, with integers that fit ``every`` assignment of sizes when its tensors are repeated or cut."""
    fewer = [sizes for sizes in every if _least(program, sizes)]
    whole = program.flat_inputs(*program.example)
    if not any(map(_counts, whole)) or all(
        _runs(program, program.flat_inputs(*program.example_at(sizes))) for sizes in fewer
    ):
        return program.example
    least = min(_least(program, sizes) for sizes in fewer)
    found: Inputs = tree_map(lambda leaf: leaf % least if _counts(leaf) else leaf, program.example)
    return found


def _least(program: Program, sizes: Mapping[str, int]) -> int:
    """The least size that is less than in the example; zero if none is."""
    return min((size for name, size in sizes.items() if size < program.sizes.get(name, 0)), default=0)


def _counts(leaf: Any) -> bool:
    """Whether it is a tensor of integers."""
    kind = leaf.dtype if isinstance(leaf, Tensor) else torch.bool
    return not (kind.is_floating_point or kind.is_complex or kind is torch.bool)


def _runs(program: Program, inputs: list[Any]) -> bool:
    try:
        with torch.no_grad():
            run(program.graph, program.tensors, inputs)
    except (RuntimeError, IndexError):
        return False
    return True

"""The example of a program at other sizes, with integers that still mean something there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graphprune.capture.execution import run
from graphprune.capture.program import Program

__all__ = ["fitting"]


def fitting(program: Program, sizes: Mapping[str, int]) -> list[Any]:
    """The leaves of `Program.example_at`, on which the program runs.

    Integers stay as they are, as long as it does. Where they count what has become less, as the nodes of a graph do,
    they are brought below the least size.
    """
    leaves = program.flat_inputs(*program.example_at(sizes))
    least = min((size for name, size in sizes.items() if size < program.sizes.get(name, 0)), default=0)
    if least and any(map(_counts, leaves)) and not _runs(program, leaves):
        return [leaf % least if _counts(leaf) else leaf for leaf in leaves]
    return leaves


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

"""A slim model at other sizes than it was captured with: a larger batch, a batch of one, and one other dimension."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from fuzz_model import Model, widened
from fuzz_oracle import compare, copied, masked_original, oracle, said, tolerance_of
from fuzz_tape import Unknown
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import graphprune as gp

__all__ = ["other_batch", "other_size"]


def other_batch(
    model: Model, wide: nn.Module, slim: nn.Module, result: gp.Result, flags: dict[str, str]
) -> None:
    for batch in (model.batch + 3, 1):
        inputs = [widened(item) for item in model.example(batch, seed=2)]
        try:
            with torch.no_grad():
                returned = slim(*copied(inputs))
        except Exception as error:
            if _runs(wide, inputs):
                flags["batch fixed"] = f"{batch}: {said(error)}"
            continue
        if batch > 1:
            oracle(wide, inputs, returned, result)


def _runs(module: nn.Module, inputs: Sequence[Tensor]) -> bool:
    try:
        with torch.no_grad():
            module(*copied(inputs))
    except (RuntimeError, ValueError, IndexError, AssertionError):
        return False
    return True


def other_size(model: Model, wide: nn.Module, slim: nn.Module, result: gp.Result, flags: Any) -> None:
    """One other dimension of an input is larger: where the original takes it, the slim model does."""
    drawn, example = random.Random(model.seed), model.example(seed=3)
    at, dim = drawn.choice([(at, dim) for at, item in enumerate(example) for dim in range(1, item.dim())])
    more = drawn.choice((2, example[at].shape[dim]))
    inputs = _longer(example, at, dim, more)
    try:
        masked = masked_original(wide, inputs, result)
    except (RuntimeError, ValueError, IndexError, AssertionError, Unknown):
        return
    try:
        with torch.no_grad():
            returned = slim(*copied(inputs))
    except Exception as error:
        # at some sizes alone it may run by chance, such as where chunks come out as long as before
        if all(_runs(wide, _longer(example, at, dim, by)) for by in (1, 3, 5)):
            flags["size fixed"] = f"x{at}[{dim}] + {more}: {said(error)}"
        return
    compare(f"outputs at x{at}[{dim}] + {more}", masked.outputs, tree_leaves(returned), tolerance_of(wide))


def _longer(example: Sequence[Tensor], at: int, dim: int, more: int) -> list[Tensor]:
    """The inputs in float64, one of them longer by a part of itself."""
    inputs = [widened(item) for item in example]
    index = torch.arange(inputs[at].shape[dim] + more) % inputs[at].shape[dim]
    return [item.index_select(dim, index) if place == at else item for place, item in enumerate(inputs)]

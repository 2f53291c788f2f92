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
    drawn, inputs = random.Random(model.seed), [widened(item) for item in model.example(seed=3)]
    places = [(at, dim) for at, item in enumerate(inputs) for dim in range(1, item.dim())]
    at, dim = drawn.choice(places)
    more = drawn.choice((2, inputs[at].shape[dim]))
    index = torch.arange(inputs[at].shape[dim] + more) % inputs[at].shape[dim]
    inputs[at] = inputs[at].index_select(dim, index)
    try:
        masked = masked_original(wide, inputs, result)
    except (RuntimeError, ValueError, IndexError, AssertionError, Unknown):
        return
    try:
        with torch.no_grad():
            returned = slim(*copied(inputs))
    except Exception as error:
        flags["size fixed"] = f"x{at}[{dim}] + {more}: {said(error)}"
        return
    compare(f"outputs at x{at}[{dim}] + {more}", masked.outputs, tree_leaves(returned), tolerance_of(wide))

"""The inputs on which programs are compared: drawn at random, at sizes other than the example's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphprune.capture.execution import Execution
from graphprune.capture.export import runs
from graphprune.capture.fitting import fitting
from graphprune.capture.inputs import Inputs
from graphprune.capture.known import Known
from graphprune.capture.lazy import Lazy
from graphprune.capture.program import Program
from graphprune.ground.arguments import require
from graphprune.ground.errors import InputError
from graphprune.verifying.tensors import drawn_like, is_inexact

__all__ = [
    "Sizes",
    "checked_sizes",
    "distinct",
    "execution_on",
    "model_runs",
    "random_inputs",
    "refuses",
    "shown",
]

Sizes = Mapping[str, int]

# operators that run without values where they would not run with them: places beyond the size, channels that do not fit
_UNCHECKED = {
    f"aten.{name}"
    for name in (
        "index index_put index_select index_add index_copy index_fill gather take scatter scatter_add scatter_reduce "
        "conv_transpose1d conv_transpose2d conv_transpose3d"
    ).split()
}


def checked_sizes(program: Program) -> tuple[Sizes, Sizes]:
    """One example of the captured sizes, and the smallest sizes that capture tried: each size has two values.

    Where the program refuses those, since Python in the model decides otherwise there, or where the model itself does
    not run, as with a table of places beyond the size, it is checked as captured.
    """
    one = program.one_example
    three = {"batch": 3} if program.dynamic_batch else {}
    small = min(program.tried, key=lambda sizes: prod(sizes.values()), default=three)
    first, second = (
        {} if refuses(program, at) or not model_runs(program, program.model, at) else at
        for at in (one, small)
    )
    return first, second


def model_runs(program: Program, model: nn.Module | None, sizes: Sizes) -> bool:
    """Whether the model runs at ``sizes``, which capture tried without values; True where there is no model."""
    unchecked = any(operation.family in _UNCHECKED for operation in program.operations)
    if model is None or not sizes or not unchecked:
        return True
    return runs(model, program.call_of(random_inputs(program, 0, sizes)))


def distinct(every: Sequence[Sizes]) -> list[Sizes]:
    """Each once: both are the same where no size varies."""
    return [sizes for index, sizes in enumerate(every) if sizes not in every[:index]]


def refuses(program: Program, sizes: Sizes) -> bool:
    """Whether a condition in the program does not hold at these sizes, which are asked without data if that can be."""
    guards = set(program.graph.find_nodes(op="call_function", target=require))
    for device in ("meta", None) if guards else ():
        try:
            _run_conditions(program, sizes, guards, device)
        except InputError:
            return True
        except Exception:  # without data the next run tells, then whoever compares
            continue
        break
    return False


def _run_conditions(program: Program, sizes: Sizes, guards: set[fx.Node], device: str | None) -> None:
    """Runs the program as far as the last of its conditions; all but those on what Python decides stand first."""
    left = set(guards)
    with torch.no_grad(), Known() if device else nullcontext():
        for node, _ in execution_on(program, program.example_at(sizes), device):
            left.discard(node)
            if not left:
                break


def execution_on(program: Program, inputs: Inputs, device: str | None) -> Execution:
    """A run of the program on a ``device``, such as "meta", where there are no values; None where its tensors are."""

    def placed(leaf: Any) -> Any:
        if isinstance(leaf, Tensor) and device:
            return torch.empty_like(leaf, device=device)
        return torch.device(device) if isinstance(leaf, torch.device) and device else leaf

    held = {name: item.tensor for name, item in program.stored.items()} if device else program.tensors
    leaves = list(map(placed, program.flat_inputs(*inputs)))
    return Execution(program.graph, Lazy(held, lambda name: placed(held[name])), leaves, literal=placed)


def random_inputs(program: Program, seed: int, sizes: Sizes | None = None) -> list[Any]:
    """The example inputs at ``sizes``, by name, inexact tensors drawn anew; see `fitting` for integers."""
    generator = torch.Generator().manual_seed(seed)

    def draw(leaf: Any) -> Any:
        if isinstance(leaf, Tensor) and is_inexact(leaf.dtype):
            return drawn_like(leaf, generator).to(leaf.dtype)
        return leaf

    return [draw(leaf) for leaf in fitting(program, sizes or {})]


def shown(sizes: Sizes) -> str:
    """Sizes in the name of a check: ", batch 3, height 16"; empty if there are none.

    >>> shown({"batch": 3, "height": 16})
    ', batch 3, height 16'
    """
    return "".join(f", {name} {size}" for name, size in sizes.items())

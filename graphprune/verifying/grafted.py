"""Checks the user's own module with slim layers against the slim program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphprune.capture import tensor_leaves
from graphprune.capture.describe import within_package
from graphprune.capture.execution import default_dtype, run
from graphprune.capture.export import left_as_it_was, what_failed
from graphprune.capture.inputs import registered_tensors
from graphprune.capture.outputs import positions
from graphprune.capture.program import Program
from graphprune.verifying.differences import TOLERANCE, largest_error
from graphprune.verifying.nodes import call_arguments, coarsest_dtype
from graphprune.verifying.samples import Sizes, checked_sizes, distinct, random_inputs, shown
from graphprune.verifying.tensors import Lively, in_dtype
from graphprune.verifying.verdict import Check

__all__ = ["grafted_checks", "outputs_differ"]

WIDE = 1e-6  # what a forward computes in float32, whatever the dtype of its layers, is equal to that
ISLANDS = 10  # or within so many times what that rounding does to the model before the cut
Graft = Callable[[fx.GraphModule], nn.Module]


def grafted_checks(
    program: Program, layers: fx.GraphModule, graft: Graft, seed: int, more: Sequence[Sizes] = ()
) -> Iterator[Check]:
    """The user's ``forward`` with slim layers equals the slim model, on random parameters and inputs, in float64.

    Where it names dtypes, so that it does not run in float64, it is compared in its own.

    Args:
        program: the captured model.
        layers: the slim model.
        graft: a slim model → the user's own module with its tensors, which it shares.
        more: sizes of the inputs at which they are compared, beside two of each.
    """
    wide = deepcopy(layers).double()
    for sizes in distinct((*checked_sizes(program), *more)):
        name = f"the user's own forward with slim layers equals the slim model{shown(sizes)}"
        inputs = random_inputs(program, seed, sizes)
        given = [in_dtype(leaf, torch.float64) for leaf in inputs]
        with default_dtype(torch.float64):
            limit = WIDE
            error, problem = _compared(program, wide, graft(wide).double(), given, seed)
            if WIDE < error < float("inf"):
                limit = max(limit, ISLANDS * _rounding(program, given, seed))
        if error == float("inf"):
            again, limit = deepcopy(layers), TOLERANCE[coarsest_dtype(program)]
            error, problem = _compared(program, again, graft(again), inputs, seed)
        yield Check(name, error <= limit, error, limit, problem)


def _rounding(program: Program, inputs: list[Any], seed: int) -> float:
    """By how much the model itself, in float64, differs from the captured program, which has no detours in float32."""
    assert program.model is not None
    model = deepcopy(program.model).double()
    values = Lively(model, seed)
    held = {**registered_tensors(model)}
    with torch.no_grad():
        for name, tensor in held.items():
            if tensor.is_floating_point():
                tensor.copy_(values[name])
    tensors = {
        name: held.get(name, in_dtype(item.tensor, torch.float64)) for name, item in program.stored.items()
    }
    args, kwargs = call_arguments(program, inputs)
    with left_as_it_was(model):
        given = positions(model(*args, **kwargs), program.returned)
        wanted = tensor_leaves(
            run(program.graph, tensors, program.flat_inputs(*call_arguments(program, inputs)))
        )
    return largest_error(wanted, given)


def _compared(
    program: Program, layers: fx.GraphModule, grafted: nn.Module, inputs: list[Any], seed: int
) -> tuple[float, str]:
    """``grafted`` shares the tensors of ``layers``, which are drawn anew."""
    values, own = Lively(layers, seed), layers.state_dict(keep_vars=True)
    with torch.no_grad():
        for key, tensor in own.items():
            if tensor.is_floating_point():
                tensor.copy_(values[key])
    return outputs_differ(program, layers, grafted, inputs)


def outputs_differ(
    program: Program, layers: nn.Module, grafted: nn.Module, inputs: list[Any]
) -> tuple[float, str]:
    """The largest relative error of an output; infinite, with what failed, where the user's forward does not run."""
    try:
        args, kwargs = call_arguments(program, inputs)
        with left_as_it_was(layers):
            wanted: list[Tensor] = tensor_leaves(layers(*args, **kwargs))
        args, kwargs = call_arguments(program, inputs)
        with left_as_it_was(grafted):
            given = positions(grafted(*args, **kwargs), program.returned)
    except Exception as error:  # whatever the user's forward raises
        return float("inf"), what_failed(error, within_package)
    worst = largest_error(wanted, given)
    return worst, "" if worst < float("inf") else "its outputs have other shapes"

"""Checks a slim model that must compute what the user's own computes, with nothing held at zero."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture import tensor_leaves
from graphprune.capture.export import left_as_it_was
from graphprune.capture.program import Program
from graphprune.ground.clock import within
from graphprune.verifying.lazy import converted
from graphprune.verifying.nodes import (
    TOLERANCE,
    Claim,
    call_arguments,
    coarsest_dtype,
    in_dtype,
    largest_error,
    measured,
    outputs_of,
    restricted,
)
from graphprune.verifying.reference import steps
from graphprune.verifying.verdict import Check, Verdict
from graphprune.verifying.verify import captured_checks, random_inputs, verify

__all__ = ["verify_unchanged"]

# relative to the largest value of an output; float64 leaves nothing to rounding but the order of sums
_LIMITS = {**TOLERANCE, torch.float32: 1e-5}
_BATCHES = (1, 3)


def verify_unchanged(
    original: DependencyGraph,
    claim: Claim,
    module: fx.GraphModule,
    tensors: Mapping[str, Tensor],
    seed: int = 0,
) -> Verdict:
    """Every check of `verify`, of the slim program against the edited one, and both ends against the user's model.

    Args:
        original: the captured model.
        claim: its graph is the captured model with edited tensors, from which the slim program was cut.
        module: the slim program, raised to layers.
        tensors: the edited tensors before they were rounded to the model's dtypes, in float64.
    """
    program, edited = original.program, claim.graph
    alone = dataclasses.replace(edited, program=dataclasses.replace(edited.program, model=None))
    exact = restricted({**converted(program.stored, torch.float64), **tensors}, claim.plan.kept)
    with within(0, 0.8):
        checks = [
            *captured_checks(program, seed),
            *verify(alone, claim.plan, claim.slim, module, seed).checks,
        ]
    for batch in _BATCHES if program.dynamic_batch else (0,):
        inputs = random_inputs(program, seed + 1, batch)
        at = f", batch {batch}" if batch else ""
        name = f"slim equals the original in float64{at}"
        checks.append(_equals_program(name, program, claim.slim, exact, inputs))
        if program.model is not None:
            name = f"slim model equals the original model{at}"
            checks.append(_equals_model(name, program, program.model, module, inputs))
    return Verdict(tuple(checks))


def _equals_program(
    name: str, program: Program, slim: Program, tensors: Mapping[str, Tensor], inputs: list[Any]
) -> Check:
    """Both on the model's own weights, in float64."""
    wide = [in_dtype(leaf, torch.float64) for leaf in inputs]
    runs = ((program.graph, converted(program.stored, torch.float64)), (slim.graph, tensors))

    def error() -> float:
        wanted, given = (outputs_of(program, steps(*run, wide, torch.float64)) for run in runs)
        return largest_error(wanted.values(), [given[output] for output in wanted])

    return measured(name, _LIMITS[torch.float64], error)


def _equals_model(
    name: str, program: Program, model: nn.Module, module: nn.Module, inputs: list[Any]
) -> Check:
    """Both as they are, in their own dtypes."""

    def error() -> float:
        results = []
        for each in (model, module):
            args, kwargs = call_arguments(program, inputs)
            with left_as_it_was(each):
                results.append(tensor_leaves(each(*args, **kwargs)))
        return largest_error(*results)

    return measured(name, _LIMITS[coarsest_dtype(program)], error)

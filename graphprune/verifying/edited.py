"""Checks slim models whose tensors were edited, before the cut (a lossless shrink) or after it (a repair)."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture import tensor_leaves
from graphprune.capture.execution import call_operator
from graphprune.capture.export import left_as_it_was
from graphprune.capture.program import Program
from graphprune.ground.clock import within
from graphprune.verifying.claim import Claim, restricted
from graphprune.verifying.differences import TOLERANCE
from graphprune.verifying.modules import layers_equal, layers_hold
from graphprune.verifying.nodes import (
    Comparison,
    call_arguments,
    coarsest_dtype,
    measured,
    output_run,
    outputs_of,
)
from graphprune.verifying.planned import same_stored, same_tensor
from graphprune.verifying.reference import NodeError, Run
from graphprune.verifying.samples import checked_sizes, distinct, random_inputs, shown
from graphprune.verifying.tensors import converted, in_dtype
from graphprune.verifying.verdict import Check, Verdict
from graphprune.verifying.verify import captured_checks, verify

__all__ = ["verify_repaired", "verify_unchanged"]

# relative to the largest value of an output; float64 leaves nothing to rounding but the order of sums
_LIMITS = {**TOLERANCE, torch.float32: 1e-5}


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
    exact = restricted({**converted(program.tensors, torch.float64), **tensors}, claim.plan.kept)
    every = checked_sizes(program)
    with within(0, 0.8):
        checks = [
            *captured_checks(program, seed),
            *verify(alone, claim.plan, claim.slim, module, seed).checks,
        ]
    for sizes in distinct(every):
        inputs, at = random_inputs(program, seed + 1, sizes), shown(sizes)
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
    own = converted(program.tensors, torch.float64)
    wanted = output_run(program, program.graph, own, wide, torch.float64)
    given = output_run(program, slim.graph, tensors, wide, torch.float64)

    def results() -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        return wanted(call_operator), given(call_operator)

    return measured(name, _LIMITS[torch.float64], results, again=wanted)


def _equals_model(
    name: str, program: Program, model: nn.Module, module: nn.Module, inputs: list[Any]
) -> Check:
    """Both as they are, in their own dtypes."""

    def outputs(of: nn.Module) -> list[Tensor]:
        args, kwargs = call_arguments(program, inputs)
        with left_as_it_was(of):
            return tensor_leaves(of(*args, **kwargs))

    again = output_run(program, program.graph, converted(program.tensors, None), inputs)
    limit = _LIMITS[coarsest_dtype(program)]
    return measured(name, limit, lambda: (outputs(model), outputs(module)), again=again)


def verify_repaired(
    cut: Program, repaired: Program, module: fx.GraphModule, changed: Collection[str], seed: int = 0
) -> tuple[Check, ...]:
    """The repaired program is the proved one with other values of ``changed``, and its layers compute what it does.

    It no longer equals the masked original, since a repair moves it towards the original itself. How near it comes is
    measured by the repair.

    Args:
        cut: the slim program that was verified.
        module: the repaired program, raised to layers.
        changed: names of the tensors that the repair gave other values.
    """
    return (
        _same_but(cut, repaired, set(changed)),
        _finite(repaired, changed),
        _layers(repaired, module, seed),
        layers_hold(repaired, module),
    )


def _same_but(cut: Program, repaired: Program, changed: set[str]) -> Check:
    wrong = sorted(set(cut.stored) ^ set(repaired.stored))
    wrong += [
        name
        for name, item in cut.stored.items()
        if name in repaired.stored
        and not (
            same_stored(item, repaired.stored[name])
            and same_tensor(cut.tensors[name], repaired.tensors[name], values=name not in changed)
        )
    ]
    wrong += [] if repaired.graph is cut.graph else ["the graph"]
    return Check.without("repaired tensors as planned", wrong)


def _finite(program: Program, changed: Collection[str]) -> Check:
    wrong = [name for name in changed if not torch.isfinite(program.stored[name].tensor).all()]
    return Check.without("repaired tensors are finite", wrong)


def _layers(program: Program, module: fx.GraphModule, seed: int) -> Check:
    name = "repaired layers equal the program"
    limit = TOLERANCE[coarsest_dtype(program)]
    inputs = random_inputs(program, seed, checked_sizes(program)[1])
    own = converted(program.tensors, None)
    try:
        with torch.no_grad():
            outputs = outputs_of(program, Run(program.graph, own, inputs))
    except NodeError as error:
        text = f"the program cannot run {error.node.name}"
        return Check(name, False, float("inf"), limit, text, ran=False)
    again = output_run(program, program.graph, own, inputs)
    held = Comparison(Check(name, True, 0, limit), inputs, outputs, again=again)
    return layers_equal(name, program, module, {}, held)

"""Checks that the slim model learns as the masked original does: both are run backward, and their gradients compared.

Outputs tell nothing of it. A tensor that is cut off from autograd, or an operator that has no derivative, leaves every
output as it is, and the model cannot be trained.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn
from torch.func import functional_call

from graphprune.capture import tensor_leaves
from graphprune.capture.execution import default_dtype
from graphprune.capture.program import Program
from graphprune.planning.plan import make_masks
from graphprune.verifying.backward import (
    FAILURES,
    Gradients,
    as_given,
    backward,
    chosen_parameters,
    compared,
    copied,
    laid,
    laid_calls,
    learning,
    leaves_of,
    not_compared,
    numbered,
    reason,
    smaller,
)
from graphprune.verifying.captured import LARGEST, Both
from graphprune.verifying.differences import TOLERANCE
from graphprune.verifying.nodes import Claim, Values, coarsest_dtype, outputs_of, restricted
from graphprune.verifying.reference import Reference
from graphprune.verifying.samples import Sizes, random_inputs, refuses
from graphprune.verifying.tensors import converted, in_dtype
from graphprune.verifying.verdict import Check

__all__ = ["gradients_equal"]

NAME = "gradients equal those of the masked original, random parameters"


@dataclass(frozen=True)
class _Run:
    """One pair of runs: the claim, the slim model's layers, and the tensors and inputs of both.

    Args:
        chosen: names of the parameters that gradients are taken by.
    """

    claim: Claim
    module: nn.Module
    values: Values
    chosen: Collection[str]
    inputs: Sequence[Any]
    wide: torch.dtype | None
    seed: int

    @property
    def program(self) -> Program:
        return self.claim.graph.program

    def original(self) -> Gradients:
        """Of the masked original, cut to what is kept."""
        inputs = as_given(self.inputs)
        masks = make_masks(self.claim.graph, self.claim.plan.groups)
        reference = Reference(self.claim.graph, masks.kept, inputs)
        tensors = leaves_of(self.values.zeroed, self.chosen)
        with torch.enable_grad():
            outputs = outputs_of(self.program, reference.run(tensors, self.wide, laid_calls))
            kept = [
                reference.region(name).take(outputs[name])
                for name in self.program.output_names
                if name in outputs
            ]
            with default_dtype(self.wide):  # some operators run forward again
                found = backward(kept, {**learning(tensors), **numbered(inputs)}, self.seed)
        cut = restricted(found, self.claim.plan.kept)
        return {name: cut[name] for name in found}

    def slim(self, by: float = 0.0) -> Gradients:
        """Of the slim model's layers, every parameter multiplied by up to ``1 + by``."""
        tensors, inputs = leaves_of(self.values.cut, self.chosen, by), as_given(self.inputs)
        first = {name: item.name for item in self.program.stored.values() for name in item.names}
        every = [*self.module.named_parameters(), *self.module.named_buffers()]
        held = {name: tensors[first[name]] for name, _ in every if name in first}
        held |= {name: held[name].clone() for name, _ in self.module.named_buffers() if name in held}
        with torch.enable_grad(), default_dtype(self.wide), laid(self.program):
            args, kwargs = self.program.call_of(copied(inputs))
            outputs = functional_call(self.module, held, args, kwargs, tie_weights=True)
            return backward(tensor_leaves(outputs), {**learning(tensors), **numbered(inputs)}, self.seed)


def gradients_equal(
    claim: Claim, layers: fx.GraphModule, values: Values, seed: int, wide: torch.dtype | None, sizes: Sizes
) -> Check:
    """The gradients of the slim model are those of the masked original at all that is kept.

    Of a random combination of all outputs, with respect to every parameter and input, on random values. Where a model
    cannot be differentiated (it returns integers, or computes without gradients), or says by an attribute ``untrained``
    why nobody will do so, the check says so and holds.

    Args:
        layers: of the slim program, which compute in ``wide``.
        values: random tensors.
        wide: float64, or None for the model's own dtypes where an operator has no kernel for that.
        sizes: at which the program is known to run; smaller ones are tried, since what is differentiated is the same.
    """
    limit = TOLERANCE[wide or coarsest_dtype(claim.graph.program)]
    program = claim.graph.program
    if why := getattr(program.model, "untrained", ""):
        return not_compared(NAME, limit, why)
    if program.parameter_count > LARGEST:
        return not_compared(NAME, limit, f"more than {LARGEST} parameters would not fit into memory")
    run, why = _Run(claim, layers, values, chosen_parameters(program, seed), (), wide, seed), ""
    for at in smaller(program, sizes):
        run = replace(run, inputs=[in_dtype(leaf, wide) for leaf in random_inputs(program, seed, at)])
        try:
            expected = run.original()
        except FAILURES as error:
            why = reason(error)
            continue
        try:
            given = run.slim()
            check = compared(NAME, run.program, expected, given, run.slim, limit)
            # PyTorch's batch norm differentiates one image wrongly where the gradient that comes in is transposed
            two = {**at, "batch": 2}
            if not check.passed and at.get("batch") == 1 and not refuses(program, two):
                other = gradients_equal(claim, layers, values, seed, wide, two)
                return other if other.passed else check
            return check
        except FAILURES as error:
            if why := _own_reason(run, at):
                return not_compared(NAME, limit, f"the model cannot be differentiated: {why}")
            detail = f"the slim model cannot be differentiated: {reason(error)}"
            return Check(NAME, False, float("inf"), limit, detail)
    return _undifferentiable(run, sizes, why, limit)


def _undifferentiable(run: _Run, sizes: Sizes, why: str, limit: float) -> Check:
    """The masked original cannot be differentiated: the slim model can, or the user's model cannot be either."""
    own = ""
    try:
        run.slim()
    except FAILURES as error:
        why_slim = reason(error)
    else:
        return not_compared(NAME, limit, f"the masked original cannot be differentiated: {why}")
    if run.program.model is not None and not (own := _own_reason(run, sizes)):
        detail = f"the model can be differentiated, the slim model cannot: {why_slim}"
        return Check(NAME, False, float("inf"), limit, detail)
    return not_compared(NAME, limit, f"the model cannot be differentiated: {own or why_slim}")


def _own_reason(run: _Run, sizes: Sizes) -> str:
    """Why the user's own model cannot be differentiated; empty if it can, or if there is none."""
    program = run.program
    if program.model is None:
        return ""
    try:
        inputs = random_inputs(program, run.seed, sizes)
        Both(program, converted(program.tensors, None), inputs, run.seed).of_model(program.model)
    except FAILURES as error:
        return reason(error)
    return ""

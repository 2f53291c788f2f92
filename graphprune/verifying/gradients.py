"""Checks that the slim model learns as the masked original does: both are run backward, and their gradients compared.

Outputs tell nothing of it. A tensor that is cut off from autograd, or an operator that has no derivative, leaves every
output as it is, and the model cannot be trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphprune.capture import tensor_leaves
from graphprune.capture.execution import default_dtype
from graphprune.capture.program import Program
from graphprune.verifying.backward import (
    FAILURES,
    Gradients,
    as_given,
    backward,
    chosen_parameters,
    compared,
    copied,
    laid,
    learning,
    leaves_of,
    not_compared,
    numbered,
    reason,
    smaller,
)
from graphprune.verifying.captured import LARGEST, Both
from graphprune.verifying.claim import Claim, restricted
from graphprune.verifying.differences import TOLERANCE
from graphprune.verifying.masked import Masked
from graphprune.verifying.modules import holding
from graphprune.verifying.nodes import Drawn, coarsest_dtype
from graphprune.verifying.samples import Sizes, random_inputs, refuses
from graphprune.verifying.tensors import converted, in_dtype
from graphprune.verifying.verdict import Check

__all__ = ["Learned", "gradients_equal", "learned", "served"]

NAME = "gradients equal those of the masked original, random parameters"


@dataclass(frozen=True)
class _Run:
    """One pair of runs: the claim, the slim model's layers, what was drawn for both, and their inputs.

    Args:
        made: a run of the masked original on the same, if there is one.
        learned: likewise a run of the layers.
    """

    claim: Claim
    module: nn.Module
    drawn: Drawn
    inputs: list[Any]
    made: Masked | None
    learned: Learned | None = None

    @property
    def program(self) -> Program:
        return self.claim.graph.program

    def original(self) -> Gradients:
        """Of the masked original, cut to what is kept."""
        masked, wide = self.made, self.drawn.wide
        if masked is None:
            masked = Masked(self.claim, self.drawn.values, self.inputs)
            for _ in masked.run(wide):
                pass
        found = masked.gradients(wide, self.drawn.seed)
        cut = restricted(found, self.claim.plan.kept)
        return {name: cut[name] for name in found}

    def slim(self, by: float = 0.0) -> Gradients:
        """Of the slim model's layers, every parameter multiplied by up to ``1 + by``."""
        run = self.learned if self.learned is not None and not by and self.learned.outputs else None
        run = run or learned(self.program, self.module, self.drawn, self.inputs, by)
        with torch.enable_grad(), default_dtype(self.drawn.wide), laid(self.program):
            outputs, run.outputs = run.outputs, []  # what they were computed by is given up
            return backward(outputs, run.leaves, self.drawn.seed)


@dataclass
class Learned:
    """A run of layers of which autograd took note: its ``outputs``, and what gradients are taken by."""

    outputs: list[Tensor]
    leaves: Gradients


def learned(
    program: Program, layers: nn.Module, drawn: Drawn, inputs: Sequence[Any], by: float = 0.0
) -> Learned:
    """Runs the slim model's layers on what is ``drawn``, every parameter multiplied by up to ``1 + by``."""
    tensors, given = leaves_of(drawn.values.cut, drawn.values.chosen or (), by), as_given(inputs)
    stored, leaves = program.stored, {**learning(tensors), **numbered(given)}
    held = {name: t if stored[name].kind == "parameter" else t.clone() for name, t in tensors.items()}
    lent = holding(layers, program, held)
    with lent, torch.enable_grad(), default_dtype(drawn.wide), laid(program):
        args, kwargs = program.call_of(copied(given))
        return Learned(tensor_leaves(layers(*args, **kwargs)), leaves)


def served(program: Program, sizes: Sizes) -> bool:
    """Whether gradients can be taken by a run at ``sizes``, made for other checks: none are taken at smaller ones."""
    return not _untaken(program) and next(smaller(program, sizes)) == sizes


def _untaken(program: Program) -> str:
    """Why nobody takes gradients of the program; empty if it is tried."""
    why = getattr(program.model, "untrained", "")
    if not why and program.parameter_count > LARGEST:
        return f"more than {LARGEST} parameters would not fit into memory"
    return str(why)


def gradients_equal(claim: Claim, layers: fx.GraphModule, drawn: Drawn, made: Learned | None = None) -> Check:
    """The gradients of the slim model are those of the masked original at all that is kept.

    Of a random combination of all outputs, with respect to every parameter and input, on random values. Where a model
    cannot be differentiated (it returns integers, or computes without gradients), or says by an attribute ``untrained``
    why nobody will do so, the check says so and holds.

    Args:
        layers: of the slim program, which compute in the dtype that is ``drawn``.
        drawn: at sizes at which the program is known to run; smaller ones are tried, since what is differentiated is
            the same.
        made: a run of the layers on what is drawn, if there is one.
    """
    program, seed, wide, sizes = claim.graph.program, drawn.seed, drawn.wide, drawn.sizes
    limit = TOLERANCE[wide or coarsest_dtype(program)]
    if why := _untaken(program):
        return not_compared(NAME, limit, why)
    drawn = replace(drawn, values=replace(drawn.values, chosen=chosen_parameters(program, seed)))
    for at in smaller(program, sizes):
        inputs = [in_dtype(leaf, wide) for leaf in random_inputs(program, seed, at)]
        both = (drawn.comparison.original, made) if at == sizes else (None, None)
        run = _Run(claim, layers, drawn, inputs, *both)
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
                unmade = replace(drawn.comparison, original=None)
                other = gradients_equal(claim, layers, replace(drawn, comparison=unmade, sizes=two))
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
        inputs = random_inputs(program, run.drawn.seed, sizes)
        Both(program, converted(program.tensors, None), inputs, run.drawn.seed).of_model(program.model)
    except FAILURES as error:
        return reason(error)
    return ""

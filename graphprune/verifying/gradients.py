"""Checks that the slim model learns as the masked original does: both are run backward, and their gradients compared.

Outputs tell nothing of it. A tensor that is cut off from autograd, or an operator that has no derivative, leaves every
output as it is, and the model cannot be trained.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from graphprune.capture import tensor_leaves
from graphprune.capture.execution import default_dtype
from graphprune.capture.export import left_as_it_was
from graphprune.capture.outputs import positions
from graphprune.capture.program import Program
from graphprune.ground.errors import InputError, first_line
from graphprune.planning.plan import make_masks
from graphprune.verifying.backward import (
    Gradients,
    Laid,
    as_given,
    backward,
    copied,
    is_smooth,
    learning,
    leaves_of,
    numbered,
)
from graphprune.verifying.differences import TOLERANCE
from graphprune.verifying.modules import holding, widened_layers
from graphprune.verifying.nodes import Claim, outputs_of, restricted
from graphprune.verifying.reference import NodeError, Reference
from graphprune.verifying.samples import Sizes, random_inputs, refuses
from graphprune.verifying.tensors import converted, in_dtype, randomised
from graphprune.verifying.verdict import Check

__all__ = ["gradients_equal"]

NAME = "gradients equal those of the masked original, random parameters"
# a backward run holds all activations, and the weights in float64
LARGEST = 200_000_000
# Gradients run through every operator, but are taken by so many parameters: every vector, and as many matrices, drawn
# at random, as bring it to this. More would cost more than all other checks together.
DIFFERENTIATED = 4_000_000
_VECTOR = 20_000
# a gradient that cancels to zero, as of a bias before a norm, is nothing but rounding: there two runs may differ by so
# many times what changing every parameter by the limit's hundredth does
_SHAKEN = 1000
_FAILURES = (RuntimeError, IndexError, TypeError, ValueError, AttributeError, KeyError, NodeError, InputError)


@dataclass(frozen=True)
class _Run:
    """One pair of runs: the claim, the slim model's layers, and the tensors and inputs of both at full width.

    Args:
        chosen: names of the parameters that gradients are taken by.
    """

    claim: Claim
    module: nn.Module
    tensors: Mapping[str, Tensor]
    chosen: Collection[str]
    inputs: Sequence[Any]
    dtype: torch.dtype
    seed: int

    @property
    def program(self) -> Program:
        return self.claim.graph.program

    def original(self) -> Gradients:
        """Of the masked original, cut to what is kept."""
        inputs = as_given(self.inputs)
        masks = make_masks(self.claim.graph, self.claim.plan.groups)
        reference = Reference(self.claim.graph, masks.kept, inputs)
        tensors = leaves_of(reference.zeroed(self.tensors), self.chosen)
        cast = self.dtype if self.dtype is torch.float64 else None
        with torch.enable_grad(), Laid():
            outputs = outputs_of(self.program, reference.run_of(tensors, cast))
            kept = [
                reference.region(name).take(outputs[name])
                for name in self.program.output_names
                if name in outputs
            ]
            found = backward(kept, {**learning(tensors), **numbered(inputs)}, self.seed)
        cut = restricted(found, self.claim.plan.kept)
        return {name: cut[name] for name in found}

    def slim(self, by: float = 0.0) -> Gradients:
        """Of the slim model's layers, every parameter multiplied by up to ``1 + by``."""
        cut = restricted(self.tensors, self.claim.plan.kept)
        tensors, inputs = leaves_of(cut, self.chosen, by), as_given(self.inputs)
        first = {name: item.name for item in self.program.stored.values() for name in item.names}
        every = [*self.module.named_parameters(), *self.module.named_buffers()]
        held = {name: tensors[first[name]] for name, _ in every if name in first}
        held |= {name: held[name].clone() for name, _ in self.module.named_buffers() if name in held}
        wide = self.dtype if self.dtype is torch.float64 else None
        with torch.enable_grad(), default_dtype(wide), Laid():
            args, kwargs = self.program.call_of(copied(inputs))
            outputs = functional_call(self.module, held, args, kwargs, tie_weights=True)
            return backward(tensor_leaves(outputs), {**learning(tensors), **numbered(inputs)}, self.seed)


def gradients_equal(
    claim: Claim, module: fx.GraphModule, seed: int, dtype: torch.dtype, sizes: Sizes
) -> Check:
    """The gradients of the slim model are those of the masked original at all that is kept.

    Of a random combination of all outputs, with respect to every parameter and input, on random values. Where a model
    cannot be differentiated (it returns integers, or computes without gradients), the check says so and holds.

    Args:
        module: the slim program, raised to layers.
        dtype: float64, or the model's own where an operator has no kernel for that.
        sizes: at which the program is known to run; smaller ones are tried, since what is differentiated is the same.
    """
    limit = TOLERANCE[dtype]
    program = claim.graph.program
    if program.parameter_count > LARGEST:
        return _not_compared(limit, f"more than {LARGEST} parameters would not fit into memory")
    drawn = randomised(program.stored, seed, dtype if dtype is torch.float64 else None)
    layers = widened_layers(module, dtype) if dtype is torch.float64 else module
    tensors = {name: drawn[name] for name in drawn}
    run, why = _Run(claim, layers, tensors, _chosen(program, seed), (), dtype, seed), ""
    for at in _smaller(program, sizes):
        run = replace(run, inputs=[in_dtype(leaf, dtype) for leaf in random_inputs(program, seed, at)])
        try:
            expected = run.original()
        except _FAILURES as error:
            why = _reason(error)
            continue
        try:
            return _compared(run, expected, run.slim(), limit)
        except _FAILURES as error:
            if reason := _own_reason(run, at):
                return _not_compared(limit, f"the model cannot be differentiated: {reason}")
            detail = f"the slim model cannot be differentiated: {_reason(error)}"
            return Check(NAME, False, float("inf"), limit, detail)
    return _undifferentiable(run, sizes, why, limit)


def _compared(run: _Run, expected: Gradients, given: Gradients, limit: float) -> Check:
    finite = {name: tensor for name, tensor in expected.items() if bool(tensor.isfinite().all())}
    errors = {name: _relative(tensor, given[name]) for name, tensor in finite.items()}
    over = [name for name, error in errors.items() if not error <= limit]
    if over:
        moved = run.slim(limit / 100)
        errors |= {
            name: 0.0
            for name in over
            if _difference(finite[name], given[name]) <= _SHAKEN * _difference(moved[name], given[name])
        }
    worst = max(errors, key=errors.__getitem__, default="")
    figure = errors.get(worst, 0.0)
    details = [f"worst is that of {worst}"] if figure else []
    every = len(_chosen(run.program, run.seed, float("inf")))
    if len(run.chosen) < every:
        details.append(f"of {len(run.chosen)} of {every} parameters")
    if left := len(expected) - len(finite):
        details.append(f"{left} of {len(expected)} are not finite in the masked original")
    return Check(NAME, figure <= limit, figure, limit, "; ".join(details))


def _undifferentiable(run: _Run, sizes: Sizes, why: str, limit: float) -> Check:
    """The masked original cannot be differentiated: the slim model can, or the user's model cannot be either."""
    own = ""
    try:
        run.slim()
    except _FAILURES as error:
        reason = _reason(error)
    else:
        return _not_compared(limit, f"the masked original cannot be differentiated: {why}")
    if run.program.model is not None and not (own := _own_reason(run, sizes)):
        detail = f"the model can be differentiated, the slim model cannot: {reason}"
        return Check(NAME, False, float("inf"), limit, detail)
    return _not_compared(limit, f"the model cannot be differentiated: {own or reason}")


def _own_reason(run: _Run, sizes: Sizes) -> str:
    """Why the user's own model cannot be differentiated; empty if it can, or if there is none."""
    if (model := run.program.model) is None:
        return ""
    try:
        _differentiate(run.program, model, random_inputs(run.program, run.seed, sizes))
    except _FAILURES as error:
        return _reason(error)
    return ""


def _differentiate(program: Program, model: nn.Module, inputs: Sequence[Any]) -> None:
    tensors, leaves = leaves_of(converted(program.stored, None), _chosen(program, 0)), as_given(inputs)
    used = {name: tensors[name] for name in set(program.attributes.values())}
    with left_as_it_was(model), holding(model, program, used), torch.enable_grad():
        args, kwargs = program.call_of(copied(leaves))
        outputs = positions(model(*args, **kwargs), program.returned)
        backward(outputs, {**learning(used), **numbered(leaves)}, 0)


def _chosen(program: Program, seed: int, left: float = DIFFERENTIATED) -> set[str]:
    """Names of the parameters that gradients are taken by."""
    used = set(program.attributes.values())
    sizes = {
        name: item.tensor.numel()
        for name, item in program.stored.items()
        if name in used and item.kind == "parameter" and is_smooth(item.tensor)
    }
    chosen = {name for name, size in sizes.items() if size <= _VECTOR}
    for name in random.Random(seed).sample(list(sizes), len(sizes)):
        if name not in chosen and (left := left - sizes[name]) >= 0:
            chosen.add(name)
    return chosen


def _smaller(program: Program, sizes: Sizes) -> Iterator[Sizes]:
    """A quarter, then a half of the sizes, as far as they are multiples and accepted; then ``sizes`` themselves."""
    multiples = {at.name: at.multiple for at in program.dimensions if at.name}
    for part in (4, 2):
        less = {
            name: max(sizes.get(name, size) // part // multiples[name], 1) * multiples[name]
            for name, size in program.sizes.items()
        } | {name: size for name, size in sizes.items() if name == "batch"}
        if program.sizes and less != {**program.sizes, **sizes} and not refuses(program, less):
            yield less
    yield sizes


def _difference(expected: Tensor, given: Tensor) -> float:
    if expected.shape != given.shape:
        return float("inf")
    return float((expected - given).abs().max()) if expected.numel() else 0.0


def _relative(expected: Tensor, given: Tensor) -> float:
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    return _difference(expected, given) / (scale or 1.0)


def _reason(error: Exception) -> str:
    return first_line(error.__cause__ if isinstance(error, NodeError) and error.__cause__ else error)


def _not_compared(limit: float, why: str) -> Check:
    return Check(NAME, True, 0.0, limit, f"not compared: {why}")

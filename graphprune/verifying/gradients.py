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

Gradients = dict[str, Tensor]


class _NoGradientError(RuntimeError):
    """A run cannot be differentiated; says why."""


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
        inputs = _given(self.inputs)
        masks = make_masks(self.claim.graph, self.claim.plan.groups)
        reference = Reference(self.claim.graph, masks.kept, inputs)
        tensors = _leaves(reference.zeroed(self.tensors), self.chosen)
        cast = self.dtype if self.dtype is torch.float64 else None
        with torch.enable_grad():
            outputs = outputs_of(self.program, reference.run_of(tensors, cast))
            kept = [
                reference.region(name).take(outputs[name])
                for name in self.program.output_names
                if name in outputs
            ]
            found = _backward(kept, {**_learning(tensors), **_numbered(inputs)}, self.seed)
        cut = restricted(found, self.claim.plan.kept)
        return {name: cut[name] for name in found}

    def slim(self, by: float = 0.0) -> Gradients:
        """Of the slim model's layers, every parameter multiplied by up to ``1 + by``."""
        cut = restricted(self.tensors, self.claim.plan.kept)
        tensors, inputs = _leaves(cut, self.chosen, by), _given(self.inputs)
        first = {name: item.name for item in self.program.stored.values() for name in item.names}
        every = [*self.module.named_parameters(), *self.module.named_buffers()]
        held = {name: tensors[first[name]] for name, _ in every if name in first}
        held |= {name: held[name].clone() for name, _ in self.module.named_buffers() if name in held}
        args, kwargs = self.program.call_of(_copied(inputs))
        with torch.enable_grad(), default_dtype(self.dtype if self.dtype is torch.float64 else None):
            outputs = functional_call(self.module, held, args, kwargs, tie_weights=True)
            return _backward(tensor_leaves(outputs), {**_learning(tensors), **_numbered(inputs)}, self.seed)


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
    try:
        run.slim()
    except _FAILURES as error:
        reason = _reason(error)
    else:
        return _not_compared(limit, f"the masked original cannot be differentiated: {why}")
    if (model := run.program.model) is not None:
        try:
            _differentiate(run.program, model, random_inputs(run.program, run.seed, sizes))
        except _FAILURES as error:
            reason = _reason(error)
        else:
            detail = f"the model can be differentiated, the slim model cannot: {reason}"
            return Check(NAME, False, float("inf"), limit, detail)
    return _not_compared(limit, f"the model cannot be differentiated: {reason}")


def _differentiate(program: Program, model: nn.Module, inputs: Sequence[Any]) -> None:
    tensors, leaves = _leaves(converted(program.stored, None), _chosen(program, 0)), _given(inputs)
    used = {name: tensors[name] for name in set(program.attributes.values())}
    args, kwargs = program.call_of(_copied(leaves))
    with left_as_it_was(model), holding(model, program, used), torch.enable_grad():
        outputs = positions(model(*args, **kwargs), program.returned)
        _backward(outputs, {**_learning(used), **_numbered(leaves)}, 0)


def _chosen(program: Program, seed: int, left: float = DIFFERENTIATED) -> set[str]:
    """Names of the parameters that gradients are taken by."""
    used = set(program.attributes.values())
    sizes = {
        name: item.tensor.numel()
        for name, item in program.stored.items()
        if name in used and item.kind == "parameter" and _is_smooth(item.tensor)
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


def _backward(outputs: Sequence[Tensor], leaves: Gradients, seed: int) -> Gradients:
    """The gradients of a random combination of ``outputs``; zeros where one does not depend on a leaf."""
    followed: list[Tensor] = []
    weights: list[Tensor] = []
    for place, output in enumerate(outputs):
        if output.requires_grad:
            plain = torch.view_as_real(output.resolve_conj()) if output.is_complex() else output
            generator = torch.Generator().manual_seed(seed * 1_009 + place)
            followed.append(plain)
            drawn = torch.randn(plain.shape, generator=generator, dtype=torch.float64)
            weights.append(drawn.to(plain.dtype))
    if not followed:
        raise _NoGradientError("nothing that it returns has a derivative")
    found = torch.autograd.grad(followed, list(leaves.values()), weights, allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }


def _leaves(tensors: Mapping[str, Tensor], chosen: Collection[str], by: float = 0.0) -> Gradients:
    """The ``chosen`` ones to be differentiated by, changed by up to the part ``by`` of them; others as they are."""
    generator = torch.Generator().manual_seed(0)
    found: Gradients = {}
    for name in tensors:
        tensor = tensors[name].detach()
        if name in chosen:
            if by:
                tensor = tensor * (
                    1 + by * (2 * torch.rand(tensor.shape, generator=generator) - 1).to(tensor)
                )
            tensor.requires_grad_()
        found[name] = tensor
    return found


def _given(inputs: Sequence[Any]) -> list[Any]:
    return [
        leaf.detach().clone().requires_grad_() if isinstance(leaf, Tensor) and _is_smooth(leaf) else leaf
        for leaf in inputs
    ]


def _copied(inputs: Sequence[Any]) -> list[Any]:
    """Copies, which may be written into, through which gradients flow."""
    return [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in inputs]


def _numbered(inputs: Sequence[Any]) -> Gradients:
    return _learning({f"input {place}": leaf for place, leaf in enumerate(inputs)})


def _learning(values: Mapping[str, Any]) -> Gradients:
    return {n: leaf for n, leaf in values.items() if isinstance(leaf, Tensor) and leaf.requires_grad}


def _is_smooth(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


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

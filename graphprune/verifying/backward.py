"""Runs backward: gradients of a random combination of outputs, by parameters and inputs, and how far two are apart."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import isfinite
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from graphprune.capture.execution import Call
from graphprune.capture.program import Program
from graphprune.ground.errors import InputError, first_line
from graphprune.verifying.reference import NodeError
from graphprune.verifying.samples import Sizes, refuses
from graphprune.verifying.verdict import Check

__all__ = [
    "FAILURES",
    "Gradients",
    "NoGradientError",
    "as_given",
    "backward",
    "chosen_parameters",
    "compared",
    "copied",
    "laid",
    "laid_calls",
    "learning",
    "leaves_of",
    "not_compared",
    "numbered",
    "reason",
    "smaller",
]

Gradients = dict[str, Tensor]

# Gradients run through every operator, but are taken by so many parameters: every vector, and as many matrices, drawn
# at random, as bring it to this. More would cost more than all other checks together.
DIFFERENTIATED = 1_000_000
_VECTOR = 20_000
_LEAST = 4  # sizes are not made smaller: an image of one pixel has no gradient behind many a norm
# a gradient that cancels to zero, as of a bias before a norm, is nothing but rounding: there two runs may differ by so
# many times what changing every parameter by the limit's hundredth does
_SHAKEN = 1000
# and where changing them happens to round alike: below this part of the largest gradient of all
ROUNDING = 1e-14
# whatever a run raises that cannot be made
FAILURES = (RuntimeError, IndexError, TypeError, ValueError, AttributeError, KeyError, NodeError, InputError)


class NoGradientError(RuntimeError):
    """A run cannot be differentiated; says why."""


class _Laid(TorchFunctionMode):
    """Gradients reach a batch norm in the layout of its output.

    PyTorch's CPU kernel of its derivative in eval mode takes others, such as what comes back through a transpose, for
    that layout: the gradients it gives are wrong (seen with 2.13), in the user's model as in the slim one.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (F.batch_norm, torch.batch_norm, torch.ops.aten.batch_norm.default):
            _lay(result)
        return result


def _lay(result: Tensor) -> None:
    if result.requires_grad:
        result.register_hook(torch.empty_like(result).copy_)


def laid(program: Program) -> AbstractContextManager[Any]:
    """What keeps gradients of batch norms right, where the program has any: it costs time at every call of torch."""
    normed = any("batch_norm" in operation.op for operation in program.operations)
    return _Laid() if normed else nullcontext()


def laid_calls(call: Call) -> Call:
    """``call``, with gradients of batch norms kept right: at these alone."""

    def called(node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = call(node, args, kwargs)
        if str(node.target).startswith("aten.batch_norm"):
            _lay(value)
        return value

    return called


def backward(outputs: Sequence[Tensor], leaves: Gradients, seed: int, none: bool = False) -> Gradients:
    """The gradients of a random combination of ``outputs``; zeros where one does not depend on a leaf.

    Raises:
        NoGradientError: no output depends on anything, and ``none`` does not say that so it may be.
    """
    followed: list[Tensor] = []
    weights: list[Tensor] = []
    for place, output in enumerate(outputs):
        if output.requires_grad:
            plain = torch.view_as_real(output.resolve_conj()) if output.is_complex() else output
            generator = torch.Generator().manual_seed(seed * 1_009 + place)
            followed.append(plain)
            drawn = torch.randn(plain.shape, generator=generator, dtype=torch.float64)
            weights.append(drawn.to(plain.dtype))
    if not followed and none:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    if not followed:
        raise NoGradientError("nothing that it returns has a derivative")
    found = torch.autograd.grad(followed, list(leaves.values()), weights, allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }


def leaves_of(tensors: Mapping[str, Tensor], chosen: Collection[str], by: float = 0.0) -> Gradients:
    """The ``chosen`` ones to be differentiated by, row by row changed by up to the part ``by``; others as they are."""
    generator = torch.Generator().manual_seed(0)
    found: Gradients = {}
    for name in tensors:
        tensor = tensors[name].detach()
        if name in chosen:
            if by:
                rows = (*tensor.shape[:1], *(1,) * (tensor.dim() - 1))
                tensor = tensor * (1 + by * (2 * torch.rand(rows, generator=generator) - 1).to(tensor))
            tensor.requires_grad_()
        found[name] = tensor
    return found


def as_given(inputs: Sequence[Any]) -> list[Any]:
    return [
        leaf.detach().clone().requires_grad_() if isinstance(leaf, Tensor) and _is_smooth(leaf) else leaf
        for leaf in inputs
    ]


def copied(inputs: Sequence[Any]) -> list[Any]:
    """Copies, which may be written into, through which gradients flow."""
    return [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in inputs]


def numbered(inputs: Sequence[Any]) -> Gradients:
    return learning({f"input {place}": leaf for place, leaf in enumerate(inputs)})


def learning(values: Mapping[str, Any]) -> Gradients:
    return {n: leaf for n, leaf in values.items() if isinstance(leaf, Tensor) and leaf.requires_grad}


def _is_smooth(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def chosen_parameters(program: Program, seed: int, left: float = DIFFERENTIATED) -> set[str]:
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


def smaller(program: Program, sizes: Sizes) -> Iterator[Sizes]:
    """An eighth of the sizes, a quarter, a half, as far as they are multiples and accepted; at last ``sizes``."""
    multiples = {at.name: at.multiple for at in program.dimensions if at.name}
    for part in (8, 4, 2):
        less = {
            name: max(sizes.get(name, size) // part, min(sizes.get(name, size), _LEAST), multiples[name])
            // multiples[name]
            * multiples[name]
            for name, size in program.sizes.items()
        } | {name: size for name, size in sizes.items() if name == "batch"}
        if program.sizes and less != {**program.sizes, **sizes} and not refuses(program, less):
            yield less
    yield sizes


def compared(
    name: str,
    program: Program,
    expected: Gradients,
    given: Gradients,
    again: Callable[[float], Gradients],
    limit: float,
) -> Check:
    """The check that two runs of ``program`` have the same gradients.

    Args:
        again: those given when every parameter is changed by up to such a part of it.
    """
    largest = {name: _largest(tensor) for name, tensor in expected.items()}
    finite = {name: expected[name] for name, size in largest.items() if isfinite(size)}
    apart = {name: _difference(tensor, given[name]) for name, tensor in finite.items()}
    errors = {name: apart[name] / (largest[name] or 1.0) for name in finite}
    floor = ROUNDING * max((largest[name] for name in finite), default=0.0)
    over = [name for name, error in errors.items() if not error <= limit and not apart[name] <= floor]
    errors |= {name: 0.0 for name in errors if name not in over and not errors[name] <= limit}
    if over:
        other = again(limit / 100)
        errors |= {
            name: 0.0 for name in over if apart[name] <= _SHAKEN * _difference(other[name], given[name])
        }
    worst = max(errors, key=errors.__getitem__, default="")
    figure = errors.get(worst, 0.0)
    details = [f"worst is that of {worst}"] if figure else []
    taken, every = (sum(name in program.stored for name in names) for names in (expected, _every(program)))
    if taken < every:
        details.append(f"of {taken} of {every} parameters")
    if left := len(expected) - len(finite):
        details.append(f"{left} of {len(expected)} are not finite in what is expected")
    return Check(name, figure <= limit, figure, limit, "; ".join(details))


def _every(program: Program) -> set[str]:
    return chosen_parameters(program, 0, float("inf"))


def not_compared(name: str, limit: float, why: str) -> Check:
    """The check that holds since nothing can be compared."""
    return Check(name, True, 0.0, limit, f"not compared: {why}")


def reason(error: Exception) -> str:
    """Why a run failed, in one line."""
    return first_line(error.__cause__ if isinstance(error, NodeError) and error.__cause__ else error)


def _difference(expected: Tensor, given: Tensor) -> float:
    if expected.shape != given.shape:
        return float("inf")
    return _largest(expected - given)


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0

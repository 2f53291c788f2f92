"""What is known of a captured program's values whatever its inputs: which elements are constant, and which constant.

An abstract interpretation: the program runs once, in float64, on its example inputs, and beside every value runs a
mask of those elements that no input can change. A mask follows from the operator and from exact zeros among the
stored tensors, never from the values that happened to come out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from graphprune.capture import tensor_leaves
from graphprune.capture.execution import Execution, call_operator, default_dtype
from graphprune.capture.operators import arguments, family, given_arguments
from graphprune.capture.program import Program
from graphprune.capture.roles import ROLES
from graphprune.planning.region import batch_sizes

__all__ = [
    "BIASED",
    "PRODUCTS",
    "Fact",
    "Facts",
    "KnownCall",
    "count",
    "everywhere",
    "factors",
    "interpret",
    "per_position",
    "reads",
]


@dataclass(frozen=True)
class Fact:
    """One value of the program.

    ``value`` is what came out in this run; where ``known``, of the same shape, it would come out in every run.
    Operators are taken to be finite: zero times anything is zero.
    """

    value: Tensor
    known: Tensor

    @property
    def nonzero(self) -> Tensor:
        """Where the value may be other than zero."""
        return ~self.known | (self.value != 0)

    @property
    def constant(self) -> Tensor:
        """Where the value is known, and not zero."""
        return self.known & (self.value != 0)


@dataclass(frozen=True)
class KnownCall:
    """One operator call. ``given`` are its arguments by the names of the schema, with a `Fact` for each tensor."""

    node: fx.Node
    given: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        """An argument, or its default."""
        return self.given[name] if name in self.given else arguments(self.node)[name]

    @property
    def family(self) -> str:
        """The operator without its overload."""
        return family(self.node)

    @property
    def facts(self) -> Iterator[Fact]:
        """All tensor arguments."""
        return (leaf for leaf in pytree.tree_leaves(dict(self.given)) if isinstance(leaf, Fact))

    def run(self, take: Callable[[Fact], Tensor], changes: Mapping[str, Any] | None = None) -> Any:
        """The operator on what ``take`` makes of every tensor, with some arguments changed."""
        given = pytree.tree_map(
            lambda leaf: take(leaf) if isinstance(leaf, Fact) else leaf, {**self.given, **(changes or {})}
        )
        return call_operator(self.node, (), given)


# the masks of a call's results
Transfer = Callable[[KnownCall, Any], Any]


@dataclass(frozen=True)
class Facts:
    """Facts by value name, the operators' steps by node name, and the size of every batch prime in this run."""

    values: Mapping[str, Fact]
    steps: Mapping[str, KnownCall]
    batches: Mapping[int, int]


def interpret(program: Program, tensors: Mapping[str, Tensor], transfer: Transfer) -> Facts:
    """Runs ``program`` on facts of its example, of batch size one where the batch is dynamic.

    Args:
        tensors: stored tensors by name, in the place of the program's own.
        transfer: the masks of an operator's results, from its step and the results.
    """
    steps: dict[str, KnownCall] = {}
    values: dict[str, Fact] = {}
    batches: dict[int, int] = {}

    def call(node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not isinstance(node.target, torch._ops.OpOverload):
            return call_operator(node, args, kwargs)
        step = KnownCall(node, given_arguments(node, args, kwargs))
        result = step.run(lambda fact: fact.value)
        if not tensor_leaves(result):
            return result
        steps[node.name] = step
        sized = any(isinstance(execution.environment[source], int) for source in node.all_input_nodes)
        known = everywhere(result, False) if sized and not _reshapes(step) else transfer(step, result)
        if isinstance(result, Tensor):
            return Fact(result, known.expand(result.shape))
        return tuple(Fact(value, mask.expand(value.shape)) for value, mask in zip(result, known, strict=True))

    stored = {name: _fact(tensor, True) for name, tensor in tensors.items()}
    example = program.flat_inputs(*program.example_at(1))
    inputs = [_fact(leaf, False) if isinstance(leaf, Tensor) else leaf for leaf in example]
    execution = Execution(program.graph, stored, inputs, call, _literal)
    with torch.no_grad(), default_dtype(torch.float64):
        for node, result in execution:
            values |= _named(node.name, result)
            if isinstance(result, Fact):
                batches |= batch_sizes(program, node.name, result.value)
    return Facts(values, steps, batches)


def _fact(tensor: Tensor, known: bool) -> Fact:
    """Of an input, or of a stored tensor; a copy, since the program may write in place."""
    dtype = torch.float64 if tensor.is_floating_point() else tensor.dtype
    value = tensor.detach().to("cpu", dtype, copy=True)
    return Fact(value, everywhere(value, known))


def everywhere(result: Any, known: bool) -> Any:
    """A mask for each tensor of a result: all of its elements are known, or none."""
    return pytree.tree_map(lambda value: torch.full(value.shape, known), result)


def per_position(mask: Tensor, dim: int) -> Tensor:
    """For each position along ``dim`` whether anything there is true: ``[size of dim]``."""
    return mask.transpose(0, dim).flatten(1).any(1) if mask.dim() > 1 else mask


def _reshapes(step: KnownCall) -> bool:
    """Whether sizes among the arguments can only be sizes of the result; elsewhere they are data, as the batch is."""
    shaped = "view _unsafe_view reshape expand broadcast_to repeat unflatten zeros ones new_zeros new_ones"
    name = step.family.removeprefix("aten.")
    return name in shaped.split() or name.startswith("upsample")  # what is the same everywhere stays so


def _literal(argument: Any) -> Any:
    """Floating dtypes become float64, and devices the CPU."""
    if isinstance(argument, torch.dtype) and argument.is_floating_point:
        return torch.float64
    return torch.device("cpu") if isinstance(argument, torch.device) else argument


def _named(name: str, result: Any) -> dict[str, Fact]:
    if isinstance(result, Fact):
        return {name: result}
    items = result if isinstance(result, tuple) else ()
    return {f"{name}.{index}": item for index, item in enumerate(items) if isinstance(item, Fact)}


# ---- sums of products: which two tensors are multiplied, and how many terms of a sum are not zero

_LAYERS = ("convolution", "transposed", "linear")
# those with a bias of their own, one for each output channel
BIASED = frozenset(op for op, roles in ROLES.items() if roles.kind in _LAYERS)
_FACTORS = {
    **{
        op: (ROLES[op].source, ROLES[op].weight)
        for op in (*BIASED, "aten.matmul", "aten.mm", "aten.bmm", "aten.addmm")
    },
    "aten.mv": ("self", "vec"),
}
PRODUCTS = (*_FACTORS, "aten.einsum")


def factors(step: KnownCall) -> tuple[Fact, Fact] | None:
    """The two tensors that are multiplied; None where the operator is no such product."""
    if step.family == "aten.einsum":
        tensors = [item for item in step["tensors"] if isinstance(item, Fact)]
        return (tensors[0], tensors[1]) if len(tensors) == 2 else None
    names = _FACTORS.get(step.family)
    return (step[names[0]], step[names[1]]) if names else None


def count(step: KnownCall, first: Tensor, second: Tensor) -> Tensor:
    """The operator on other factors, with nothing added. Of ones and zeros it counts the terms that are not zero."""
    if step.family == "aten.einsum":
        return step.run(lambda fact: fact.value, {"tensors": [first, second]})
    one, two = _FACTORS[step.family]
    changes: dict[str, object] = {one: first, two: second}
    if step.family in BIASED:
        changes["bias"] = None
    elif step.family == "aten.addmm":
        changes["self"] = torch.zeros((), dtype=first.dtype)
    return step.run(lambda fact: fact.value, changes)


def reads(step: KnownCall, first: Sequence[Tensor], second: Sequence[Tensor], wanted: Tensor) -> Tensor:
    """Which elements of the first factor stand in a term of a ``wanted`` result.

    ``first`` and ``second`` are masks in pairs: a term counts if its factors lie in both masks of one pair.
    The terms of sums of products are positive, so that the derivative of their number says where they are.
    """
    found = torch.zeros(first[0].shape, dtype=torch.bool)
    for mask, other in zip(first, second, strict=True):
        if not (mask.any() and other.any()):
            continue
        with torch.inference_mode(False), torch.enable_grad():
            ones = torch.ones(mask.shape, requires_grad=True)
            terms = count(step, ones, other.float())
            (slope,) = torch.autograd.grad(terms, ones, wanted.float().expand(terms.shape))
        found |= mask & (slope > 0.5)
    return found

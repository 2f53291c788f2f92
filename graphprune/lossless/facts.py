"""What is known of a captured program's values whatever its inputs: which elements are constant, and which constant.

An abstract interpretation: the program runs once, in float64, on its example inputs, and beside every value runs a
mask of those elements that no input can change. A mask follows from the operator and from exact zeros among the
stored tensors, never from the values that happened to come out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from graphprune.capture.inputs import with_batch
from graphprune.capture.nodes import arguments, family, given_arguments, overload
from graphprune.capture.program import Program

__all__ = ["Fact", "Facts", "Step", "example_inputs", "interpret"]


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
class Step:
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
        return overload(self.node)(**given)


# the masks of a call's results
Transfer = Callable[[Step, Any], Any]


@dataclass(frozen=True)
class Facts:
    """Facts by value name, the operators' steps by node name, and the size of every batch prime in this run."""

    values: Mapping[str, Fact]
    steps: Mapping[str, Step]
    batches: Mapping[int, int]


def example_inputs(program: Program) -> list[Any]:
    """The leaves of one call: the example, of batch size one where the batch is dynamic."""
    example = with_batch(program.example, 1) if program.dynamic_batch else program.example
    return program.flat_inputs(*example)


def interpret(program: Program, tensors: Mapping[str, Tensor], transfer: Transfer) -> Facts:
    """Runs ``program`` on facts.

    Args:
        tensors: stored tensors by name, in the place of the program's own.
        transfer: the masks of an operator's results, from its step and the results.
    """
    environment: dict[fx.Node, Any] = {}
    steps: dict[str, Step] = {}
    values: dict[str, Fact] = {}
    batches: dict[int, int] = {}
    remaining = iter(example_inputs(program))
    with torch.no_grad():
        for node in program.graph.nodes:
            if node.op == "output":
                break
            if node.op == "placeholder":
                result: Any = _input(next(remaining))
            elif node.op == "get_attr":
                result = _stored(tensors[str(node.target)])
            else:
                result = _called(node, environment, steps, transfer)
            environment[node] = result
            values |= _named(node.name, result)
            batches |= _sizes(program, node.name, result)
    return Facts(values, steps, batches)


def _input(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    value = _wide(leaf)
    return Fact(value, torch.zeros(value.shape, dtype=torch.bool))


def _stored(tensor: Tensor) -> Fact:
    return Fact(_wide(tensor), torch.ones(tensor.shape, dtype=torch.bool))


def _wide(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu()
    return tensor.double() if tensor.is_floating_point() else tensor


def _called(
    node: fx.Node, environment: Mapping[fx.Node, Any], steps: dict[str, Step], transfer: Transfer
) -> Any:
    def at(argument: Any) -> Any:
        return environment[argument] if isinstance(argument, fx.Node) else _widened(argument)

    if not isinstance(node.target, torch._ops.OpOverload):
        args, kwargs = fx.node.map_aggregate((node.args, dict(node.kwargs)), at)
        return overload(node)(*args, **kwargs)
    step = Step(node, fx.node.map_aggregate(given_arguments(node), at))
    result = step.run(lambda fact: fact.value)
    if not any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(result)):
        return result
    steps[node.name] = step
    if any(isinstance(environment[source], int) for source in node.all_input_nodes) and not _reshapes(step):
        known = pytree.tree_map(lambda value: torch.zeros(value.shape, dtype=torch.bool), result)
    else:
        known = transfer(step, result)
    if isinstance(result, Tensor):
        return Fact(result, known.expand(result.shape))
    return tuple(Fact(value, mask.expand(value.shape)) for value, mask in zip(result, known, strict=True))


def _reshapes(step: Step) -> bool:
    """Whether sizes among the arguments can only be sizes of the result; elsewhere they are data, as the batch is."""
    shaped = "view _unsafe_view reshape expand broadcast_to repeat unflatten zeros ones new_zeros new_ones"
    return step.family.removeprefix("aten.") in shaped.split()


def _widened(argument: Any) -> Any:
    if isinstance(argument, torch.dtype) and argument.is_floating_point:
        return torch.float64
    return torch.device("cpu") if isinstance(argument, torch.device) else argument


def _named(name: str, result: Any) -> dict[str, Fact]:
    if isinstance(result, Fact):
        return {name: result}
    items = result if isinstance(result, tuple) else ()
    return {f"{name}.{index}": item for index, item in enumerate(items) if isinstance(item, Fact)}


def _sizes(program: Program, name: str, result: Any) -> dict[int, int]:
    known = program.values.get(name)
    if known is None or not isinstance(result, Fact):
        return {}
    pairs = zip(known.shape, result.value.shape, strict=True)
    return {size: actual for size, actual in pairs if size in program.batch_primes}

"""The masked original: the user's graph at full width, with everything that is removed held at zero.

This is what the slim program must equal. Operators that average, normalise or compare along an axis of which something
is removed are given the kept part only, see `restricted`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves, tree_map

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.terms import Atom
from graphprune.capture.execution import Call, Execution, call_operator, default_dtype
from graphprune.capture.operators import bound, given_arguments, mutates
from graphprune.planning.region import Regions
from graphprune.verifying.grouped import call_without_zeros
from graphprune.verifying.restricted import is_restricted, run_restricted, stays_zero
from graphprune.verifying.tensors import Latest, is_inexact, widened

__all__ = ["NodeError", "Reference", "Run"]


class NodeError(RuntimeError):
    """A node cannot be run; its cause says why."""

    def __init__(self, node: fx.Node) -> None:
        self.node = node
        super().__init__(node.name)


class Run:
    """A run of ``graph``, node by node with its value, see `Execution`.

    With ``dtype`` every other floating dtype that an operator names, or takes where it names none, is replaced by it.

    Raises:
        NodeError: a node cannot be run.
    """

    def __init__(
        self,
        graph: fx.Graph,
        tensors: Mapping[str, Tensor],
        inputs: list[Any],
        dtype: torch.dtype | None = None,
        call: Call = call_operator,
    ) -> None:
        def called(*given: Any) -> Any:
            with default_dtype(dtype):  # not around the whole run, which halts while others run
                return call(*given)

        self._execution = Execution(
            graph, tensors, inputs, called if dtype else call, lambda leaf: widened(leaf, dtype)
        )
        self._named = {node.name: node for node in graph.nodes}
        self._in_place = any(mutates(node) for node in graph.nodes)

    def __iter__(self) -> Iterator[tuple[fx.Node, Any]]:
        try:
            yield from self._execution
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            raise NodeError(self._execution.node) from error

    def go_on_with(self, name: str, value: Any) -> None:
        """Other nodes read ``value`` in the place of what the node made; not where a part of it may be written into."""
        if self._named[name] in self._execution.environment and not self._in_place:
            self._execution.environment[self._named[name]] = value


class Reference:
    """Runs the original graph under a choice of kept units.

    Args:
        kept: atom → boolean mask, see `Masks`.
        inputs: flat inputs; their shapes give the actual batch sizes.
    """

    def __init__(self, graph: DependencyGraph, kept: Mapping[Atom, Tensor], inputs: list[Any]) -> None:
        self.graph = graph
        self.inputs = inputs
        self._regions = Regions(graph, kept, inputs)
        self.region = self._regions.of
        self._operations = {operation.name: operation for operation in graph.program.operations}
        self._in_place = any(mutates(node) for node in graph.program.graph.nodes)

    def zeroed(self, tensors: Mapping[str, Tensor]) -> Latest:
        """Stored tensors with everything that is removed set to zero."""
        nodes = self.graph.program.graph.find_nodes(op="get_attr")
        regions = {str(node.target): self.region(node.name) for node in nodes}
        return Latest(regions, lambda name: regions[name].zero(tensors[name]))

    def run(
        self,
        zeroed: Mapping[str, Tensor],
        dtype: torch.dtype | None,
        changed: Callable[[Call], Call] = lambda call: call,
    ) -> Run:
        """Every node with its masked value, from stored tensors that are `zeroed`.

        Args:
            changed: makes another way to call an operator of the one given.
        """
        return Run(self.graph.program.graph, zeroed, self.inputs, dtype, changed(self._call))

    def _call(self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        operation = self._operations.get(node.name)
        cut = any(not self.region(source.name).whole for source in node.all_input_nodes)
        if cut and operation is not None and is_restricted(operation.op):
            value = self._restricted(node, operation.op, args, kwargs)
        else:
            value = call_without_zeros(node, args, kwargs)
        self._saw(node.name, value)
        if cut and isinstance(value, Tensor):
            self._follow(node, args, kwargs, value)
        return self._held(node.name, value)

    def _follow(self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any], value: Tensor) -> None:
        """Learns what is kept of a value from what it was made of, where its axes do not say so in this call."""
        if not self._regions.is_other(node.name, value):
            return
        named, given = tree_leaves((node.args, dict(node.kwargs))), tree_leaves((args, kwargs))
        pairs = zip(named, given, strict=False) if len(named) == len(given) else ()
        tensors = [(source.name, item) for source, item in pairs if isinstance(item, Tensor)]
        if len(tensors) == 1 and _same_numbers(value, tensors[0][1]):
            ((name, item),) = tensors
            mask = self.region(name).mask(item.dim()).expand(item.shape)
            if (laid_out := _laid_out(node, args, kwargs, {id(item): mask})) is not None:
                self._regions.learn(node.name, laid_out)
                return
        sources = [self.region(name) for name, item in tensors if item.dim() == value.dim()]
        self._regions.take_over(node.name, value, sources)

    def _saw(self, name: str, value: Any) -> None:
        if isinstance(value, tuple | list):
            for index, item in enumerate(value):
                self._saw(f"{name}.{index}", item)
        elif isinstance(value, Tensor):
            self._regions.saw(name, value)

    def _held(self, name: str, value: Any) -> Any:
        if isinstance(value, tuple | list):
            return type(value)(self._held(f"{name}.{index}", item) for index, item in enumerate(value))
        if not isinstance(value, Tensor):
            return value
        region = self.region(name)
        if region.whole:
            return value
        zeroed = region.zero(value)
        # where operators write in place, a view that is right already must stay a view
        return value if self._in_place and torch.equal(zeroed, value) else zeroed

    def _restricted(self, node: fx.Node, op: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The operator on the kept part of its tensors, see `run_restricted`."""
        nodes, given = given_arguments(node), bound(node.target, args, kwargs)  # type: ignore[arg-type]
        if stays_zero(op, given):
            return call_operator(node, args, kwargs)
        masks = {
            name: self.region(nodes[name].name).mask(value.dim()).expand(value.shape)
            for name, value in given.items()
            if isinstance(value, Tensor)
        }
        return run_restricted(op, node.target, given, masks)


def _same_numbers(value: Tensor, given: Tensor) -> bool:
    """Whether a value may be another one laid out anew: tests and bits make other numbers, and read masks otherwise."""
    return value.numel() == given.numel() and value.dtype == given.dtype and is_inexact(value.dtype)


def _laid_out(
    node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any], masks: Mapping[int, Tensor]
) -> Tensor | None:
    """The mask of what a node gives that only lays out its tensor anew; None of any other node."""
    args, kwargs = tree_map(lambda item: masks.get(id(item), item), (args, kwargs))
    try:
        mask = call_operator(node, args, kwargs)
    except (RuntimeError, TypeError):  # it computes with numbers
        return None
    return mask if isinstance(mask, Tensor) and mask.dtype == torch.bool else None

"""The captured program: a functional `torch.fx` graph, its stored tensors, and its calling convention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from graphprune.capture.dimensions import Dimension, named_sizes
from graphprune.capture.inputs import Inputs, with_sizes
from graphprune.capture.lazy import Lazy, read_late
from graphprune.capture.operations import Operation, Value
from graphprune.ground.errors import WeightsError
from graphprune.ground.limits import give_back_freed

__all__ = ["Constant", "Program", "Stored"]


@dataclass(frozen=True)
class Stored:
    """A tensor that the model keeps.

    ``name`` is the first name under which the model registers it and ``ties`` all the others. ``kind`` is
    "parameter", "buffer" or "constant" (a tensor attribute, or one that depends on nothing).
    """

    name: str
    kind: str
    tensor: torch.Tensor
    persistent: bool = True
    ties: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All names under which the model registers it, the first one first."""
        return (self.name, *self.ties)

    def with_tensor(self, tensor: torch.Tensor) -> Stored:
        """The same with another tensor: of a parameter a parameter, which is trainable if this one is."""
        if self.kind == "parameter":
            tensor = nn.Parameter(tensor, requires_grad=self.tensor.requires_grad)
        return replace(self, tensor=tensor)


@dataclass(frozen=True)
class Constant:
    """A returned value that is not computed; marks texts, which are not names of values."""

    value: Any


@dataclass(frozen=True)
class Program:
    """A captured model. Nothing in it is changed by later stages.

    Args:
        graph: operators of the ATen vocabulary; stored tensors are ``get_attr`` nodes under their names.
        stored: every tensor of the model by its first name, the user's own tensors, not copies.
        operations: the graph as the core sees it, in order.
        attributes: value name of a ``get_attr`` node → name of the stored tensor.
        inputs: names of the placeholders in calling order; ``arguments`` is (args, kwargs) of positions in it, a
            tuple of them for an object that holds tensors.
        outputs: nested tuples, lists and dicts of value names, the structure that ``forward`` returns; returned
            numbers and None stand as they are, returned texts as `Constant`.
        returned: positions of the outputs among the leaves of what ``forward`` returns: all, or those asked for.
        wanted: the names by which outputs were asked for; empty where all are returned.
        batch_primes: the primes that stand in `Value.shape` for the batch size, and for sizes that are data.
        dimensions: every dimension of every input tensor, in order.
        tried: sizes by the names of the dimensions, other than the example's, at which the program was compared with
            the model; each size that varies has two values among these and the example.
        notes: what the user should know about this capture.
        detaches: whether ``forward`` keeps gradients from some of what it computes.
        model: the user's module, so that the program can be compared with it; None where there is none.
        weights: where tensors on the meta device are read from, whenever one is asked for; see `with_weights`.
    """

    graph: fx.Graph
    stored: Mapping[str, Stored]
    operations: tuple[Operation, ...]
    values: Mapping[str, Value]
    attributes: Mapping[str, str]
    inputs: tuple[str, ...]
    arguments: Inputs
    parameters: tuple[str, ...]
    outputs: Any
    returned: tuple[int, ...]
    example: Inputs
    wanted: tuple[str, ...] = ()
    batch_primes: tuple[int, ...] = ()
    dimensions: tuple[Dimension, ...] = ()
    tried: tuple[Mapping[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    module_types: Mapping[str, str] = field(default_factory=dict)
    detaches: bool = False
    model: nn.Module | None = field(default=None, repr=False)
    weights: Mapping[str, torch.Tensor] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return (
            f"Program({type(self.model).__name__}, operators={len(self.operations)}, inputs={len(self.inputs)}, "
            f"stored={len(self.stored)}, varying=[{', '.join(self.sizes)}])"
        )

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """Names of all values that are returned, in order."""
        return tuple(leaf for leaf in pytree.tree_leaves(self.outputs) if isinstance(leaf, str))

    @property
    def has_values(self) -> bool:
        """Whether every stored tensor has values, or they can be read."""
        return self.weights is not None or not any(item.tensor.is_meta for item in self.stored.values())

    @cached_property
    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Stored tensors by name, with their values: held, or read each time from ``weights``.

        Shapes and dtypes alone are better taken from ``stored``, which reads nothing.
        """
        if self.weights is None:
            return {name: stored.tensor for name, stored in self.stored.items()}
        return Lazy(self.stored, self._read)

    def _read(self, name: str) -> torch.Tensor:
        item = self.stored[name]
        if not item.tensor.is_meta:
            return item.tensor
        found = self._named(item)
        if self.weights is None or found is None:
            raise WeightsError(f"the weights lack {name}", "give those of this model")
        tensor = self.weights[found]
        if (tensor.shape, tensor.dtype) != (item.tensor.shape, item.tensor.dtype):
            raise WeightsError(
                f"the weights hold {found} as {tensor.dtype} {list(tensor.shape)}, the model has "
                f"{item.tensor.dtype} {list(item.tensor.shape)}",
                "give those of this model, or build it in their dtype",
            )
        return tensor

    def _named(self, item: Stored) -> str | None:
        """The name under which the weights have a tensor, of which a file may hold any."""
        return next((name for name in item.names if name in (self.weights or ())), None)

    def with_weights(self, weights: Mapping[str, torch.Tensor]) -> Program:
        """The same with values for its tensors on the meta device, which a run reads one at a time, late.

        Raises:
            WeightsError: one that the graph reads is not there. One of another shape or dtype is refused when it is
                read.
        """
        give_back_freed()
        program = replace(self, graph=read_late(self.graph), weights=weights)
        read = {str(node.target) for node in self.graph.find_nodes(op="get_attr")}
        lacking = [
            name
            for name, item in self.stored.items()
            if name in read and item.tensor.is_meta and program._named(item) is None
        ]
        if lacking:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise WeightsError(f"the weights lack {lacking[0]}{more}", "give those of this model")
        return program

    @cached_property
    def parameter_count(self) -> int:
        """Parameters that the graph uses, tied ones counted once."""
        used = set(self.attributes.values())
        return sum(
            prod(stored.tensor.shape)
            for name, stored in self.stored.items()
            if stored.kind == "parameter" and name in used
        )

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The example's size of every dimension that varies, by name: ``{"batch": 1, "height": 224}``."""
        return named_sizes(self.dimensions)

    @property
    def dynamic_batch(self) -> bool:
        """Whether the program runs at any batch size."""
        return "batch" in self.sizes

    @property
    def one_example(self) -> dict[str, int]:
        """The sizes of a call with one example: none where shapes do not say how they depend on the batch."""
        shapes = (
            self.values[self.inputs[at.place]].shape[at.dim] for at in self.dimensions if at.name == "batch"
        )
        return {"batch": 1} if next(shapes, 0) in self.batch_primes else {}

    def example_at(self, sizes: int | Mapping[str, int]) -> Inputs:
        """The example at other ``sizes``, by name, or with so many examples in it.

        Values are repeated or cut. Dimensions that are fixed, or that are not named, stay as they are.
        """
        wanted = {"batch": sizes} if isinstance(sizes, int) else sizes
        return with_sizes(self.example, self.dimensions, wanted)

    def flat_inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        """The leaves of a call, in the order of ``inputs``."""
        return list(pytree.tree_leaves((args, dict(kwargs)), is_leaf=lambda leaf: leaf is None))

    def call_of(self, leaves: Sequence[Any]) -> Inputs:
        """The arguments of a call from its leaves, in the order of ``inputs``."""
        args, kwargs = pytree.tree_unflatten(leaves, pytree.tree_structure(self.example))
        return args, kwargs

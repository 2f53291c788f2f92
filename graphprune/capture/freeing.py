"""Turns literals of a traced graph into the sizes they were computed from, see `graphprune.capture.watching`.

A size is read by ``aten.sym_size.int(tensor, dim)``; arithmetic on sizes is that of Python's `operator`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from graphprune.capture.dtypes import DtypeRead
from graphprune.capture.operators import given_arguments, set_arguments
from graphprune.capture.remembered import Computed, DtypeOf, Expression, Leaf, leaves, plain
from graphprune.capture.watching import ALIAS, CALL, READ, Watch
from graphprune.ground.arguments import dtype_of

__all__ = ["Sizes", "free_literals", "free_multiples", "in_multiples", "settle_constants"]

# arguments that are never sizes, though their numbers may be equal to some
_NO_SIZES = frozenset(
    "dim dim0 dim1 dim2 start_dim end_dim axis dtype layout device memory_format source destination "
    "reduction norm_type".split()
)


class Sizes:
    """The size nodes of a graph, each made once, right behind what it needs."""

    def __init__(self, graph: fx.Graph) -> None:
        self.graph = graph
        self.tensors: dict[int, fx.Node] = {}
        self.reads: dict[tuple[fx.Node, int], fx.Node] = {}
        self.computed: dict[Computed, fx.Node] = {}
        self.dtypes: dict[DtypeOf, fx.Node] = {}
        # what is put behind a node stands before what was put there earlier: (5,) < (5, -2) < (5, -2, -3) < (5, -1)
        self._places: dict[fx.Node, tuple[int, ...]] = {node: (n,) for n, node in enumerate(graph.nodes)}
        self._inputs = [node for node in graph.nodes if node.op == "placeholder"]

    def leaf(self, tensor: fx.Node, dim: int) -> Leaf:
        """The size of ``tensor`` in dimension ``dim``, to be computed with."""
        ticket = -1 - self._places[tensor][0]
        self.tensors[ticket] = tensor
        return Leaf(ticket, dim)

    def before(self, expression: Expression, node: fx.Node) -> bool:
        """Whether the graph knows all that ``expression`` needs before ``node`` runs."""
        tensors = [self.tensors.get(leaf.ticket) for leaf in leaves(expression)]
        return all(tensor is not None and self._places[tensor] < self._places[node] for tensor in tensors)

    def node(self, expression: Any) -> Any:
        """The node that computes ``expression``; a plain number as it is."""
        if isinstance(expression, DtypeOf):
            if expression not in self.dtypes:
                self.dtypes[expression] = self._made(dtype_of, (self.tensors[expression.ticket],))
            return self.dtypes[expression]
        if isinstance(expression, Leaf):
            key = (self.tensors[expression.ticket], expression.dim)
            if key not in self.reads:
                self.reads[key] = self._made(torch.ops.aten.sym_size.int, key)
            return self.reads[key]
        if not isinstance(expression, Computed):
            return expression
        if expression not in self.computed:
            function, given = _in_integers(expression)
            args = tuple(map(self.node, given))
            if not any(isinstance(argument, fx.Node) for argument in args):
                return function(*args)
            self.computed[expression] = self._made(function, args)
        return self.computed[expression]

    def _made(self, function: Any, args: tuple[Any, ...]) -> fx.Node:
        made = self.insert(function, args, [argument for argument in args if isinstance(argument, fx.Node)])
        made.meta["val"] = function(*(a.meta["val"] if isinstance(a, fx.Node) else a for a in args))
        return made

    def __contains__(self, node: fx.Node) -> bool:
        return node in self._places and len(self._places[node]) > 1

    def forget_removed(self) -> None:
        """Makes anew, when they are needed again, those that are no longer in the graph."""
        there = set(self.graph.nodes)
        self.reads = {key: made for key, made in self.reads.items() if made in there}
        self.computed = {key: made for key, made in self.computed.items() if made in there}
        self.dtypes = {key: made for key, made in self.dtypes.items() if made in there}

    def insert(self, function: Any, args: Any, after: Sequence[fx.Node]) -> fx.Node:
        """A call right behind the last of the nodes ``after``, and behind all inputs."""
        anchor = max(after, key=self._places.__getitem__)
        if anchor.op == "placeholder":
            anchor = self._inputs[-1]
        with self.graph.inserting_after(anchor):
            made = self.graph.call_function(function, args)
        self._places[made] = (*self._places[anchor], -len(self._places))
        return made


def _in_integers(expression: Computed) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """``ceil(a / b)`` and ``floor(a / b)`` of integers without floats, which are not exact."""
    fraction = _fraction(expression.args[0])
    if fraction is not None and expression.function in (math.floor, math.trunc):
        return operator.floordiv, fraction
    if fraction is not None and expression.function is math.ceil:
        above, below = fraction
        return operator.neg, (Computed(operator.floordiv, (Computed(operator.neg, (above,)), below)),)
    return expression.function, expression.args


def _fraction(expression: Any) -> tuple[Any, Any] | None:
    """``a / b / c`` as ``(a, b * c)``; None where a float is in it, or there is no division."""
    if not isinstance(expression, Computed) or expression.function is not operator.truediv:
        return None
    above, below = expression.args
    inner = _fraction(above)
    if inner is not None:
        above, below = inner[0], Computed(operator.mul, (inner[1], below))
    if not _is_whole(above) or not _is_whole(below):
        return None
    return above, below


def _is_whole(expression: Any) -> bool:
    if isinstance(expression, Computed):
        whole = (operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod, operator.neg)
        return expression.function in whole and all(map(_is_whole, expression.args))
    return isinstance(expression, int | Leaf)


def free_literals(graph: fx.Graph, watch: Watch) -> Sizes:
    """Replaces every literal that was computed from sizes by nodes that compute it, and removes the marks.

    Sizes that never change become nodes too; whoever knows which do change makes them literals again.
    """
    sizes = Sizes(graph)
    sizes.tensors |= {node.args[1]: node.args[0] for node in graph.nodes if node.target is READ}
    for node, given in list(_in_calls(graph, watch)):
        _free(node, given, sizes)
    output = graph.output_node()

    def returned(leaf: Any) -> Any:
        return sizes.node(watch.log.origin(leaf) or leaf) if _is_number(leaf) else leaf

    output.args = fx.node.map_aggregate(output.args, returned)
    instead: dict[fx.Node, Any] = {}
    for node in list(graph.nodes):
        if node.target is ALIAS:  # it kept a tensor apart from what a cast gave back
            instead[node] = node.args[0]
            node.replace_all_uses_with(node.args[0])
        if node.target in (READ, CALL, ALIAS):
            graph.erase_node(node)
    sizes.tensors = {ticket: instead.get(tensor, tensor) for ticket, tensor in sizes.tensors.items()}
    return sizes


def _in_calls(graph: fx.Graph, watch: Watch) -> Iterator[tuple[fx.Node, tuple[Any, ...]]]:
    """Every operator, and what the call was given that made it, if that was noted."""
    given: tuple[Any, ...] = ()
    for node in graph.nodes:
        if node.target is CALL:
            given = watch.given[node.args[0]] if node.args[0] > 0 else ()
        elif node.op == "call_function" and node.target is not READ:
            yield node, given


def _free(node: fx.Node, given: tuple[Any, ...], sizes: Sizes) -> None:
    if not isinstance(node.target, torch._ops.OpOverload) or not given:
        return
    dtypes = {item.plain: item.expression for item in given if isinstance(item, DtypeRead)}
    given = tuple(item for item in given if not isinstance(item, DtypeRead))
    named = {n: v for n, v in given_arguments(node).items() if isinstance(v, torch.dtype) and v in dtypes}
    set_arguments(node, {n: sizes.node(dtypes[v]) for n, v in named.items() if sizes.before(dtypes[v], node)})
    arguments = {n: v for n, v in given_arguments(node).items() if n not in _NO_SIZES}
    literals = [leaf for leaf in pytree.tree_leaves(arguments) if _is_number(leaf)]
    found = _origins(literals, given)
    origins = iter(o if o is not None and sizes.before(o, node) else None for o in found)

    def replaced(leaf: Any) -> Any:
        origin = next(origins) if _is_number(leaf) else None
        return leaf if origin is None else sizes.node(origin)

    if any(origin is not None for origin in found):
        set_arguments(
            node, {name: fx.node.map_aggregate(value, replaced) for name, value in arguments.items()}
        )


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, int | float) and not isinstance(leaf, bool)


def _origins(literals: list[Any], given: tuple[Any, ...]) -> list[Any]:
    """What each of ``literals`` was computed from; None where it is a constant."""
    whole = _aligned(literals, list(given))
    if whole is not None:
        return [getattr(number, "expression", None) for number in whole]
    known = {plain(number): getattr(number, "expression", None) for number in reversed(given)}
    return [known.get(literal) for literal in literals]


def _aligned(literals: list[Any], numbers: list[Any]) -> list[Any] | None:
    """The numbers of the call that are the literals, where they stand in it in one row, once."""
    given, count = list(map(plain, numbers)), len(literals)
    places = [start for start in range(len(given) - count + 1) if given[start : start + count] == literals]
    return numbers[places[0] : places[0] + count] if len(places) == 1 else None


def free_multiples(graph: fx.Graph, sizes: Sizes, size: Leaf, prime: int) -> None:
    """Replaces every literal that is a multiple of ``prime``, at which ``size`` was traced, by as many times ``size``.

    So literals are found that torch computed itself. A large prime that divides no other size cannot be mistaken.
    """

    def freed(leaf: Any) -> Any:
        if not isinstance(leaf, int) or isinstance(leaf, bool) or leaf <= 0 or leaf % prime:
            return leaf
        return sizes.node(size if leaf == prime else Computed(operator.mul, (size, leaf // prime)))

    for node in list(graph.nodes):
        if node.op in ("call_function", "output") and node not in sizes:
            node.args = fx.node.map_aggregate(node.args, freed)
            node.kwargs = fx.node.map_aggregate(node.kwargs, freed)


def in_multiples(graph: fx.Graph, sizes: Sizes, prime: int) -> bool:
    """Whether every size that depends on the batch is a multiple of it, so that ``prime`` can stand for it in shapes.

    It is not where a row is added to the batch, or half of it is taken.
    """
    of_batch: set[fx.Node] = set()
    for node in graph.nodes:
        sources, value = node.all_input_nodes, node.meta.get("val")
        if node in sizes:
            if of_batch & set(sources) or (isinstance(value, int) and value and value % prime == 0):
                of_batch.add(node)
        elif isinstance(value, Tensor):
            given = {size for source in sources for size in _shape(source)}
            given_sizes = {source.meta["val"] for source in sources if source in of_batch}
            shape = _shape(node)
            new = {size for size in shape if size > 1 and size % prime} - given
            whole = any(size % prime == 0 for size in shape) or len(shape) < value.dim()
            if new & given_sizes or (new and not whole and any(size and size % prime == 0 for size in given)):
                return False
    return True


def _shape(node: fx.Node) -> tuple[int, ...]:
    """The sizes of a tensor but for those that are data, such as how many positions a mask has."""
    value = node.meta.get("val")
    return tuple(size for size in value.shape if isinstance(size, int)) if isinstance(value, Tensor) else ()


def settle_constants(graph: fx.Graph, sizes: Sizes, constant: Collection[fx.Node]) -> None:
    """Makes literals again of the ``constant`` sizes, and of what is computed from them alone."""
    for node in list(graph.nodes):
        if node in constant or (node in sizes and not node.all_input_nodes):
            _replace(node, node.meta["val"])
            graph.erase_node(node)


def _replace(node: fx.Node, value: Any) -> None:
    for user in list(node.users):
        user.args, user.kwargs = fx.node.map_arg(
            (user.args, user.kwargs), lambda n: value if n is node else n
        )

"""Which results of a graph lie in one memory, and what a write into it changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from graphprune.capture.operators import family, mutates

__all__ = ["Memory"]

# operators that give back their argument's memory, or a copy: as its strides allow, or as they are switched off or on
_MAY_SHARE = (
    "aten.reshape",
    "aten.contiguous",
    "aten.dropout",
    "aten.feature_dropout",
    "aten.alpha_dropout",
    "aten.feature_alpha_dropout",
)
_SIZE = torch.ops.aten.sym_size.int  # reads no values


class Memory:
    """The memory of every result of ``graph``.

    Where an operator may share memory or not, depending on strides, it counts as sharing.

    Attributes:
        root: the node that made the memory each node's result lies in.
        sharing: the nodes whose results lie in a root's memory, in order.
        position: the place of each node in the graph.
    """

    def __init__(self, graph: fx.Graph) -> None:
        self.position = {node: index for index, node in enumerate(graph.nodes)}
        self.root: dict[fx.Node, fx.Node] = {}
        self.sharing: dict[fx.Node, list[fx.Node]] = defaultdict(list)
        self._base: dict[fx.Node, fx.Node | None] = {}
        for node in graph.nodes:
            base = self._base[node] = _base(node)
            self.root[node] = node if base is None else self.root[base]
            self.sharing[self.root[node]].append(node)

    def read_after(self, nodes: Iterable[fx.Node], node: fx.Node) -> bool:
        """Whether the values of one of ``nodes`` are read later than ``node`` runs."""
        users = (user for one in nodes for user in one.users if user.target is not _SIZE)
        return any(self.position[user] > self.position[node] for user in users)

    def can_copy(self, view: fx.Node) -> bool:
        """Whether nothing changes if ``view`` copies its memory.

        It does not if what is written afterwards on one side, into the view or into the rest of the memory, is never
        read on the other.
        """
        root, start = self.root[view], self.position[view]
        writes = [n for n in self.sharing[root] if mutates(n) and self.position[n] > start]
        if not writes:
            return True
        behind = self._behind(view)
        beside = [node for node in self.sharing[root] if node not in behind]
        kept = root.op != "call_function"  # inputs and stored tensors are read by whoever holds them
        for write in writes:
            inside = write.args[0] in behind
            if (inside and kept) or self.read_after(beside if inside else behind, write):
                return False
        return True

    def _behind(self, view: fx.Node) -> dict[fx.Node, None]:
        """``view`` and what looks at the memory through it."""
        behind = {view: None}
        for node in self.sharing[self.root[view]]:
            if self._base[node] in behind:
                behind[node] = None
        return behind


def _base(node: fx.Node) -> fx.Node | None:
    """The tensor whose memory the result may share."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function":
        return None
    if schema is None or family(node) in _MAY_SHARE:
        return node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
    for argument, value in zip(schema.arguments, node.args, strict=False):
        if argument.alias_info is not None and isinstance(value, fx.Node):
            return value
    # einsum and others give back views though their schemas do not say so
    own = _storages(node)
    return next((source for source in node.all_input_nodes if own and own & _storages(source)), None)


def _storages(node: fx.Node) -> set[Any]:
    """The memory that the node's results had while the model was traced."""
    leaves = pytree.tree_leaves(node.meta.get("val"))
    return {x.untyped_storage() for x in leaves if isinstance(x, Tensor) and x.layout is torch.strided}

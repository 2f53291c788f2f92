"""A graph that writes in place, without: ONNX has values only, and no memory.

What is written goes back, through the views that it was written into, to the tensor whose memory it is; whoever reads
that memory later reads the new value. (As `torch.func.functionalize` does for a trace.)
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import fx

from graphprune.capture.operators import family, mutates
from graphprune.exporting.refusals import NO_OPERATOR, where
from graphprune.ground.errors import ExportError

__all__ = ["functional"]

_aten = torch.ops.aten


class _View(NamedTuple):
    """An operator that makes a view, and its arguments behind the first."""

    target: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


_Back = Callable[[fx.Graph, fx.Node, fx.Node, _View], fx.Node]


def _scattered(target: Any) -> _Back:
    """Puts the new part into the tensor that it was cut out of."""

    def back(graph: fx.Graph, whole: fx.Node, part: fx.Node, view: _View) -> fx.Node:
        return graph.call_function(target, (whole, part, *view.args), dict(view.kwargs))

    return back


def _same(graph: fx.Graph, whole: fx.Node, part: fx.Node, view: _View) -> fx.Node:
    return graph.call_function(view.target, (part, *view.args), dict(view.kwargs))


def _shaped(graph: fx.Graph, whole: fx.Node, part: fx.Node, view: _View) -> fx.Node:
    return graph.call_function(_aten.view_as.default, (part, whole))


def _permuted(graph: fx.Graph, whole: fx.Node, part: fx.Node, view: _View) -> fx.Node:
    (dims,) = view.args
    order = [dim % len(dims) for dim in dims]
    return graph.call_function(_aten.permute.default, (part, [order.index(dim) for dim in range(len(order))]))


def _plain(graph: fx.Graph, whole: fx.Node, part: fx.Node, view: _View) -> fx.Node:
    return part


# view → what makes the viewed tensor of it and of a new value of the view
_BACK: Mapping[str, _Back] = {
    "aten.slice": _scattered(_aten.slice_scatter.default),
    "aten.select": _scattered(_aten.select_scatter.default),
    "aten.diagonal": _scattered(_aten.diagonal_scatter.default),
    "aten.transpose": _same,
    "aten.t": _same,
    "aten.permute": _permuted,
    "aten.view": _shaped,
    "aten.unsqueeze": _shaped,
    "aten.squeeze": _shaped,
    "aten.unflatten": _shaped,
    "aten.detach": _plain,
    "aten.alias": _plain,
}
# views or copies, as it happens
_UNSURE = ("aten.reshape", "aten.contiguous", "aten.flatten", "aten.to", "aten.expand_as")


def functional(graph: fx.Graph) -> tuple[fx.Graph, dict[str, fx.Node]]:
    """The graph without operators that write, and its values by the names they have in ``graph``.

    Raises:
        ExportError: a write cannot be followed to the memory that it goes to.
    """
    if not any(map(mutates, graph.nodes)):
        return graph, {node.name: node for node in graph.nodes}
    return _Functional().run(graph)


class _Functional:
    def __init__(self) -> None:
        self.graph = fx.Graph()
        self.values: dict[fx.Node, fx.Node] = {}  # old node → its value in the new graph
        self.viewed: dict[fx.Node, fx.Node] = {}  # old view → the old node that it is a view of
        self.version: dict[
            fx.Node, int
        ] = {}  # of the memory that an old node made; of a view, what it was read at

    def run(self, graph: fx.Graph) -> tuple[fx.Graph, dict[str, fx.Node]]:
        for node in graph.nodes:
            if mutates(node):
                self._write(node)
            else:
                self._copy(node)
        return self.graph, {node.name: self.values[node] for node in graph.output_node().all_input_nodes}

    def _copy(self, node: fx.Node) -> None:
        self.values[node] = self.graph.node_copy(node, self._read)
        base = None if family(node) in _UNSURE and _reads_alone(node) else _base(node)
        if base is not None:
            self.viewed[node] = base
        self.version[node] = self.version[self._root(node)] if base is not None else 0

    def _root(self, node: fx.Node) -> fx.Node:
        while node in self.viewed:
            node = self.viewed[node]
        return node

    def _read(self, node: fx.Node) -> fx.Node:
        """The value of the node as its memory is now."""
        root = self._root(node)
        if node is root or self.version[node] == self.version[root]:
            return self.values[node]
        base = self._read(self.viewed[node])
        if family(node) in _UNSURE:
            raise _refusal(node)
        if not mutates(node):
            args, kwargs = fx.node.map_arg((node.args[1:], dict(node.kwargs)), self._read)
            base = self.graph.call_function(node.target, (base, *args), kwargs)  # type: ignore[arg-type]
            base.meta = dict(node.meta)
        self.values[node], self.version[node] = base, self.version[root]
        return base

    def _write(self, node: fx.Node) -> None:
        target = node.args[0]
        assert isinstance(target, fx.Node)
        new = self._new_value(node, target)
        new.meta = dict(node.meta)
        root = self._root(target)
        version = self.version[root] + 1
        at: fx.Node = target
        while True:
            self.values[at], self.version[at] = new, version
            if at is root:
                break
            if mutates(at):  # the same memory under another name
                at = self.viewed[at]
                continue
            back = _BACK.get(family(at))
            if back is None:
                raise _refusal(at)
            whole = self.viewed[at]
            args, kwargs = fx.node.map_arg((at.args[1:], dict(at.kwargs)), self._read)
            # the memory has not got its new version yet, so this reads what it was before
            new = back(self.graph, self._read(whole), new, _View(at.target, args, kwargs))
            new.meta = {**whole.meta, "nn_module_stack": node.meta.get("nn_module_stack")}
            at = whole
        self.viewed[node] = target
        self.values[node], self.version[node] = self.values[target], version

    def _new_value(self, node: fx.Node, target: fx.Node) -> fx.Node:
        """What is written, computed without writing."""
        current = self._read(target)
        args = [fx.node.map_arg(arg, self._read) for arg in node.args[1:]]
        kwargs = fx.node.map_arg(dict(node.kwargs), self._read)
        name = family(node)
        if name == "aten.copy_":
            cast = self.graph.call_function(_aten.type_as.default, (args[0], current))
            cast.meta = dict(node.meta)
            return self.graph.call_function(_aten.expand_as.default, (cast, current))
        if name in ("aten.fill_", "aten.zero_") and not any(isinstance(arg, fx.Node) for arg in args):
            return self.graph.call_function(_aten.full_like.default, (current, *(args or [0])))
        packet = getattr(_aten, name.removeprefix("aten.").removesuffix("_"), None)
        plain = getattr(packet, str(node.target).split(".")[-1], None)
        if plain is None:
            raise _refusal(node)
        return self.graph.call_function(plain, (current, *args), kwargs)


def _base(node: fx.Node) -> fx.Node | None:
    """The tensor whose memory the node's value may lie in, or the tensors."""
    if node.target is operator.getitem:
        source = node.args[0]
        return source if isinstance(source, fx.Node) and _base(source) is not None else None
    schema = getattr(node.target, "_schema", None)
    if schema is None or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    if family(node) in _UNSURE:
        return node.args[0]
    views = any(result.alias_info is not None for result in schema.returns)
    return node.args[0] if views else None


def _reads_alone(node: fx.Node) -> bool:
    """Whether nobody else reads the memory that a node reads: then a view of it is as good as a copy."""
    source = node.args[0] if node.args else None
    while isinstance(source, fx.Node) and source.op == "call_function" and len(source.users) == 1:
        if (base := _base(source)) is None:
            return True
        source = base
    return False


def _refusal(node: fx.Node) -> ExportError:
    return ExportError(
        f"the model writes in place into what another operator makes{where(node)}", NO_OPERATOR
    )

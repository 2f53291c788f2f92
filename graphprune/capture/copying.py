"""Copies an exported graph: stored tensors by name, wrapped regions inlined, only the user's inputs and outputs."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from graphprune.capture.describe import source_line
from graphprune.ground.errors import CaptureError

__all__ = ["copy_graph"]

# regions that only switch a mode which inference in a fixed dtype does not need
_WRAPPERS = ("wrap_with_set_grad_enabled", "wrap_with_autocast")


def copy_graph(exported: ExportedProgram, first_name: Mapping[str, str]) -> tuple[fx.Graph, list[fx.Node]]:
    """The graph with stored tensors as ``get_attr`` nodes under their first names, and its input placeholders.

    Raises:
        CaptureError: a node runs graphs of its own, such as torch.cond.
    """
    signature = exported.graph_signature
    targets = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    copy = _Copy(exported.graph_module)
    placeholders: list[fx.Node] = []
    for node in exported.graph.nodes:
        if node.op == "output":
            results: Any = fx.node.map_arg(node.args[0], copy.mapping.__getitem__)
            # buffer updates come first; what the user's forward returns comes last
            count = exported.call_spec.out_spec.num_leaves
            copy.graph.output(tuple(results)[len(results) - count :])
        elif node.op == "placeholder" and node.target in targets:
            copy.attribute(node, first_name.get(targets[node.target], targets[node.target]))
        else:
            copy.add(node)
            if node.op == "placeholder":
                placeholders.append(copy.mapping[node])
    return copy.graph, placeholders


class _Copy:
    """A graph under construction; ``mapping`` goes from old nodes to new ones, or to tuples of new ones."""

    def __init__(self, owner: torch.nn.Module) -> None:
        self.owner = owner
        self.graph = fx.Graph()
        self.mapping: dict[Any, Any] = {}
        self.attributes: dict[str, fx.Node] = {}

    def attribute(self, node: fx.Node, name: str) -> None:
        """One ``get_attr`` for all reads of one tensor."""
        if name not in self.attributes:
            self.attributes[name] = self.graph.create_node("get_attr", name, name=node.name)
            self.attributes[name].meta = dict(node.meta)
        self.mapping[node] = self.attributes[name]

    def add(self, node: fx.Node) -> None:
        """Copies one node; a wrapped region is replaced by what is in it."""
        if node.op == "get_attr" and isinstance(getattr(self.owner, str(node.target), None), fx.GraphModule):
            return
        if node.op == "call_function" and _name(node) in _WRAPPERS:
            self._inline(node)
        elif node.target is operator.getitem and isinstance(self.mapping.get(node.args[0]), tuple):
            self.mapping[node] = self.mapping[node.args[0]][node.args[1]]
        elif any(source not in self.mapping for source in node.all_input_nodes):
            raise CaptureError(
                f"{_name(node)} chooses between whole graphs at run time ({source_line(node) or node.name})",
                "compute both sides and choose with torch.where",
            )
        else:
            self.mapping[node] = self.graph.node_copy(node, self.mapping.__getitem__)

    def _inline(self, node: fx.Node) -> None:
        place = next(i for i, a in enumerate(node.args) if isinstance(a, fx.Node) and a.op == "get_attr")
        region = getattr(self.owner, str(node.args[place].target))  # type: ignore[union-attr]
        given = map(self.mapping.get, node.args[place + 1 :])
        outer, self.owner = self.owner, region
        for inner in region.graph.nodes:
            if inner.op == "placeholder":
                self.mapping[inner] = next(given)
            elif inner.op == "output":
                self.mapping[node] = fx.node.map_arg(inner.args[0], self.mapping.__getitem__)
            else:
                self.add(inner)
        self.owner = outer


def _name(node: fx.Node) -> str:
    return getattr(node.target, "__name__", "") or str(node.target)

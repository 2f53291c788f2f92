"""ONNX nodes under the names of the layers, and the time that each layer takes.

A profile or a viewer of the file says which layer a node is of. The runtime makes kernels of the nodes; their times
are traced back to the nodes that they were made of.
"""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from graphprune.exporting.runtime import Model, NodeTime, graph_of

__all__ = ["LAYER", "OTHER", "Nodes", "layer_of", "layer_times", "name_nodes", "note_layers"]

OTHER = "other"
FUSED = "Fused"  # FusedConv, FusedMatMul: an operator with what comes after it
LAYER = "pkg.graphprune.layer"  # a note on nodes from their translation on, until the program is optimised
SCOPES = "pkg.torch.onnx.name_scopes"  # of torch's exporter: modules from the outermost to the innermost, the operator
MARK = "/"


def layer_times(
    model: Model, kernels: Iterable[NodeTime], layers: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Layer → milliseconds of one run, the median of those timed, in the order of the file's nodes.

    A kernel that the runtime fused out of several nodes counts with the layer of the one it is named after. What
    cannot be traced back, and nodes outside of all layers, are `OTHER`.

    Args:
        kernels: of the file, see `node_times`.
        layers: name of a node → its layer; None for a file whose nodes `name_nodes` has named.
    """
    nodes = Nodes.of(graph_of(model), layers)
    found = dict.fromkeys([*filter(None, nodes.layers.values()), OTHER], 0.0)
    for kernel in kernels:
        found[nodes.layer(kernel) or OTHER] += median(kernel.milliseconds)
    return {layer: spent for layer, spent in found.items() if spent}


@dataclass(frozen=True)
class Nodes:
    """The layers of a file's nodes by the nodes' names, and the nodes by what they compute."""

    layers: Mapping[str, str]
    makers: Mapping[str, Any]

    @classmethod
    def of(cls, graph: Any, layers: Mapping[str, str] | None = None) -> Nodes:
        names = [node.name for node in graph.node]
        makers = {value: node for node in graph.node for value in node.output}
        found = {name: layer_of(name) if layers is None else layers.get(name, "") for name in names}
        return cls(found, makers)

    def layer(self, kernel: NodeTime) -> str:
        """The layer of a kernel; empty if it is of none.

        Kernels are named after a node; or, in layouts by blocks of channels, after the value that comes out, which
        an activation may have made that was fused into the kernel.
        """
        name = _longest(kernel.name, self.layers)
        if name:
            return self.layers[name]
        value = _longest(kernel.name, self.makers)
        operator = kernel.operator.removeprefix(FUSED)
        return next((self.layers[node.name] for node in self._before(value) if node.op_type == operator), "")

    def _before(self, value: str) -> Iterator[Any]:
        """The node that makes ``value`` and those before it, the nearest first."""
        queue, seen = [value], {value}
        for name in queue:
            node = self.makers.get(name)
            if node is not None:
                yield node
                new = [item for item in node.input if item not in seen]
                queue += new
                seen.update(new)


def _longest(kernel: str, names: Mapping[str, Any]) -> str:
    """The longest of ``names`` with which the kernel's name begins; the runtime puts its own behind "_" or "/"."""
    ends = [len(kernel), *(place for place, letter in enumerate(kernel) if letter in "_/")]
    return next((kernel[:end] for end in sorted(ends, reverse=True) if kernel[:end] in names), "")


def layer_of(node: str) -> str:
    """The layer in the name of a node that `name_nodes` gave; empty if there is none."""
    return node.rpartition(MARK)[0]


def note_layers(graph: Any) -> None:
    """Notes on each node of a graph that is not optimised yet the layer it belongs to.

    Operators outside of a layer may read its tensors, as attention with one projection for all three does.
    """
    held: dict[str, str] = {}  # values that depend on one layer's tensors alone
    for node in graph:
        read = [value for value in node.inputs if value is not None]
        layer = _innermost(node) or next(filter(None, map(_owner, read)), "")
        layer = layer or next((held[value.name] for value in read if value.name in held), "")
        if layer:
            node.metadata_props[LAYER] = layer
        if layer and all(value.name in held or value.is_initializer() for value in read):
            held.update({value.name: layer for value in node.outputs})


def name_nodes(graph: Any) -> None:
    """Puts the layer before the name of each node: what owns the weight, where others were folded into it."""
    for node in graph.all_nodes():
        noted = node.metadata_props.get(LAYER, "")
        owners = list(_weights(node))
        layer = owners[0] if owners and noted not in owners else noted
        own = str(node.name).replace(MARK, "_")
        node.name = f"{layer}{MARK}{own}" if layer else own


def _innermost(node: Any) -> str:
    if LAYER in node.metadata_props:
        return str(node.metadata_props[LAYER])
    scopes = literal_eval(node.metadata_props.get(SCOPES, "[]"))
    return str(scopes[-2]) if len(scopes) > 2 else ""


def _weights(node: Any) -> Iterator[str]:
    """Owners of the stored tensors that it reads, of biases and the like only where they confirm what is noted."""
    noted = node.metadata_props.get(LAYER, "")
    for value in node.inputs:
        owner = _owner(value) if value is not None else ""
        if owner and (owner == noted or len(value.shape or ()) > 1):
            yield owner


def _owner(value: Any) -> str:
    """The module that stores the tensor; empty where it is the model itself, and for other values."""
    return str(value.name).rpartition(".")[0] if value.is_initializer() else ""

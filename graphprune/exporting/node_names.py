"""ONNX nodes under the names of the layers, so that a profile or a viewer of the file says which layer it is."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Iterator
from typing import Any

__all__ = ["layer_of", "name_nodes", "note_layers"]

LAYER = "pkg.graphprune.layer"  # a note on nodes while a program is optimised
SCOPES = "pkg.torch.onnx.name_scopes"  # of torch's exporter: modules from the outermost to the innermost, the operator
MARK = "/"


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

"""Weights that a model computes from others at each call become plain weights, under the name the layer has for them.

`torch.nn.utils.parametrize` (weight_norm, spectral_norm, orthogonal …), the older hooks of `torch.nn.utils` and the
masks of `torch.nn.utils.prune` all keep originals and compute the weight from nothing but stored tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphprune.capture.nodes import call, draws_random, mutates
from graphprune.capture.program import Stored

__all__ = ["HOOKED", "fold_parametrised"]

# layer.parametrizations.weight.original0, .0._u; layer.weight_g, weight_v; weight_orig with weight_u or weight_mask
_ORIGINAL = re.compile(r"(?P<layer>.*?)\.?parametrizations\.(?P<name>\w+)\.(original\d*|\d+\..+)")
HOOKED = ("orig", "mask", "g", "u", "v")
_HOOKED = re.compile(rf"(?P<layer>.*?)\.?(?P<name>\w+)_({'|'.join(HOOKED)})")


def fold_parametrised(graph: fx.Graph, stored: Mapping[str, Stored], model: nn.Module) -> dict[str, Stored]:
    """Replaces every computed weight in ``graph`` by a stored one; returns the tensors that are stored then.

    A weight is folded if it has the shape of an original and depends on originals of one weight only. What is folded
    is a copy at today's values: a program does not follow a model that is trained further.
    """
    weights = {name: weight for name in stored if (weight := _weight_of(name, model))}
    values = _computed(graph, stored, weights)
    folded: dict[str, Stored] = {}
    held: dict[str, fx.Node] = {}
    for node, (weight, value) in values.items():
        used = [user for user in node.users if user not in values]
        originals = [stored[name] for name, of in weights.items() if of == weight]
        shapes = [item.tensor.shape for item in originals]
        if node.op != "call_function" or not used or value.shape not in shapes:
            continue
        if weight not in folded:
            trainable = any(item.tensor.requires_grad for item in originals)
            folded[weight] = Stored(weight, "parameter", nn.Parameter(value.detach().clone(), trainable))
            with graph.inserting_before(node):
                held[weight] = graph.create_node("get_attr", weight, name=weight.replace(".", "_"))
            held[weight].meta = {**node.meta}
        for user in used:
            user.replace_input_with(node, held[weight])
    for node in reversed(values):
        if not node.users:
            graph.erase_node(node)
    read = {node.target for node in graph.nodes if node.op == "get_attr"}
    return {n: item for n, item in stored.items() if n in read or weights.get(n) not in folded} | folded


def _weight_of(name: str, model: nn.Module) -> str:
    """The weight that a stored tensor is an original of; empty if of none."""
    match = _ORIGINAL.fullmatch(name) or _HOOKED.fullmatch(name)
    if match is None:
        return ""
    try:
        owner = model.get_submodule(match["layer"])
    except AttributeError:
        return ""
    own = match["name"] in owner._parameters or match["name"] in owner._buffers
    return (
        f"{match['layer']}.{match['name']}".lstrip(".") if hasattr(owner, match["name"]) and not own else ""
    )


def _computed(
    graph: fx.Graph, stored: Mapping[str, Stored], weights: Mapping[str, str]
) -> dict[fx.Node, tuple[str, Tensor]]:
    """Nodes that depend on stored tensors alone, originals of one weight among them: that weight, and the value."""
    known: dict[fx.Node, tuple[str, Any]] = {}
    for node in graph.nodes:
        if node.op == "get_attr" and node.target in stored:
            known[node] = (weights.get(node.target, ""), stored[node.target].tensor.detach())
        elif node.op == "call_function" and _pure(node, known):
            of = {known[source][0] for source in node.all_input_nodes} - {""}
            if len(of) <= 1 and (of or _cheap(node)):
                with torch.no_grad():
                    known[node] = (next(iter(of), ""), call(node, lambda source: known[source][1]))
    return {node: item for node, item in known.items() if item[0] and isinstance(item[1], Tensor)}


def _cheap(node: fx.Node) -> bool:
    """Whether a value that may never be needed can be made all the same: a number, or one made of nothing."""
    value = node.meta.get("val")
    return not node.all_input_nodes or (isinstance(value, Tensor) and value.numel() <= 1)


def _pure(node: fx.Node, known: Mapping[fx.Node, Any]) -> bool:
    changes = mutates(node) or draws_random(node)
    return not changes and all(source in known for source in node.all_input_nodes)

"""Reading fx nodes whose targets are ATen operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

__all__ = ["arguments", "family", "given_arguments", "mutates", "overload", "own_memory"]


def overload(node: fx.Node) -> Any:
    """The operator a node calls; for ``get_attr`` the name it reads."""
    return node.target


def family(node: fx.Node) -> str:
    """The operator without its overload: ``aten.add``."""
    return ".".join(str(node.target).split(".")[:2])


def given_arguments(node: fx.Node) -> dict[str, Any]:
    """The node's arguments by the names of the operator's schema."""
    names = [argument.name for argument in overload(node)._schema.arguments]
    return dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def arguments(node: fx.Node) -> dict[str, Any]:
    """The same with defaults filled in, in the schema's order."""
    schema = overload(node)._schema.arguments
    bound = {item.name: item.default_value for item in schema if item.has_default_value()}
    bound |= given_arguments(node)
    return {item.name: bound[item.name] for item in schema if item.name in bound}


def mutates(node: fx.Node) -> bool:
    """Whether the operator writes into its first argument."""
    return (
        isinstance(node.target, torch._ops.OpOverload)
        and node.target._schema.is_mutable
        and isinstance(node.args[0], fx.Node)
    )


def own_memory(graph: fx.Graph) -> Callable[[Any], Any]:
    """What an interpreter does with inputs and stored tensors: copies them if ``graph`` writes in place."""
    if not any(mutates(node) for node in graph.nodes):
        return lambda value: value
    return lambda value: value.clone() if isinstance(value, torch.Tensor) else value

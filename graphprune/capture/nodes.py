"""Reading fx nodes whose targets are ATen operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

__all__ = ["arguments", "draws_random", "family", "given_arguments", "mutates", "overload", "own_memory"]


def overload(node: fx.Node) -> Any:
    """The operator a node calls; for ``get_attr`` the name it reads."""
    return node.target


def family(node: fx.Node) -> str:
    """The operator without its overload: ``aten.add``."""
    return ".".join(str(node.target).split(".")[:2])


def given_arguments(
    node: fx.Node, args: tuple[Any, ...] | None = None, kwargs: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The node's arguments, or those that stand for them, by the names of the operator's schema."""
    names = [argument.name for argument in overload(node)._schema.arguments]
    args, kwargs = node.args if args is None else args, node.kwargs if kwargs is None else kwargs
    return dict(zip(names, args, strict=False)) | dict(kwargs)


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


def draws_random(node: fx.Node) -> bool:
    """Whether the operator draws random numbers; a dropout that is switched off does not."""
    operator = node.target
    if not isinstance(operator, torch._ops.OpOverload):
        return False
    if torch.Tag.nondeterministic_seeded not in operator.tags:
        return False
    bound = arguments(node)
    off = [bound.get(name) is False for name in ("train", "training")]
    return not any(off) and 0 not in [bound.get(name) for name in ("p", "dropout_p") if name in bound]


def own_memory(graph: fx.Graph) -> Callable[[Any], Any]:
    """What an interpreter does with inputs and stored tensors: copies them if ``graph`` writes in place."""
    if not any(mutates(node) for node in graph.nodes):
        return lambda value: value
    return lambda value: value.clone() if isinstance(value, torch.Tensor) else value

"""Reading fx nodes whose targets are ATen operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from graphprune.capture.operators import bound

__all__ = [
    "arguments",
    "call",
    "draws_random",
    "family",
    "given_arguments",
    "module_path",
    "mutates",
    "own_memory",
    "set_arguments",
]


def family(node: fx.Node) -> str:
    """The operator without its overload: ``aten.add``."""
    return ".".join(str(node.target).split(".")[:2])


def _schema(node: fx.Node) -> Any:
    return node.target._schema.arguments  # type: ignore[union-attr]


def given_arguments(
    node: fx.Node, args: tuple[Any, ...] | None = None, kwargs: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The node's arguments, or those that stand for them, by the names of the operator's schema."""
    names = [item.name for item in _schema(node)]
    args, kwargs = node.args if args is None else args, node.kwargs if kwargs is None else kwargs
    return dict(zip(names, args, strict=False)) | dict(kwargs)


def arguments(node: fx.Node) -> dict[str, Any]:
    """The same with defaults filled in, in the schema's order."""
    return bound(node.target, node.args, node.kwargs)  # type: ignore[arg-type]


def set_arguments(node: fx.Node, changes: Mapping[str, Any]) -> None:
    """Gives arguments of the node other values, by the names of the operator's schema."""
    args, kwargs = list(node.args), dict(node.kwargs)
    for place, item in enumerate(_schema(node)):
        if item.name in changes and place < len(args):
            args[place] = changes[item.name]
        elif item.name in changes:
            kwargs[item.name] = changes[item.name]
    node.args, node.kwargs = tuple(args), kwargs


def call(node: fx.Node, value_of: Callable[[fx.Node], Any]) -> Any:
    """What the node's operator gives where ``value_of`` gives the values of its inputs."""
    assert callable(node.target)
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), value_of)
    return node.target(*args, **kwargs)


def module_path(node: fx.Node) -> str:
    """The dotted name of the innermost module whose ``forward`` made the node; empty for the model's own."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(next(reversed(stack.values()))[0]) if stack else ""


def mutates(node: fx.Node) -> bool:
    """Whether the operator writes into its first argument."""
    return (
        isinstance(node.target, torch._ops.OpOverload)
        and node.target._schema.is_mutable
        and isinstance(node.args[0], fx.Node)
    )


def draws_random(node: fx.Node) -> bool:
    """Whether the operator draws random numbers; a dropout that is switched off does not."""
    tags = node.target.tags if isinstance(node.target, torch._ops.OpOverload) else ()
    if torch.Tag.nondeterministic_seeded not in tags:
        return False
    given = arguments(node)
    is_off = any(given.get(name) is False for name in ("train", "training"))
    return not is_off and all(given.get(name) != 0 for name in ("p", "dropout_p"))


def own_memory(graph: fx.Graph) -> Callable[[Any], Any]:
    """A function for whoever runs ``graph``: it copies an input or stored tensor if the graph writes in place."""
    if not any(mutates(node) for node in graph.nodes):
        return lambda value: value
    return lambda value: value.clone() if isinstance(value, torch.Tensor) else value

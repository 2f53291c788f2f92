"""The operators of PyTorch: found by name, what their schemas say, and how the nodes of a graph call them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload, OpOverloadPacket

from graphprune.ground.errors import InputError

__all__ = [
    "arguments",
    "bound",
    "call",
    "defaults",
    "draws_random",
    "family",
    "find_operator",
    "given_arguments",
    "makes_view",
    "module_path",
    "mutates",
    "overloads_of",
    "own_memory",
    "set_arguments",
    "tensor_arguments",
]

_NAME = re.compile(r"([A-Za-z_]\w*)(?:::|\.)([A-Za-z_]\w*)(?:\.([A-Za-z_]\w*))?")


def find_operator(operator: Any) -> OpOverload | OpOverloadPacket:
    """An operator by its name: "ns::name", "ns.name", either with ".overload"; operators stand for themselves.

    Raises:
        InputError: no such operator is registered in this process.
    """
    operator = getattr(operator, "_opoverload", operator)  # what torch.library.custom_op returns
    if isinstance(operator, OpOverload | OpOverloadPacket):
        return operator
    match = _NAME.fullmatch(operator) if isinstance(operator, str) else None
    if match is None:
        raise InputError(
            f"{operator!r} is no operator", 'give "namespace::name", or torch.ops.namespace.name'
        )
    namespace, name, overload = match.groups()
    found = getattr(getattr(torch.ops, namespace), name, None)
    if isinstance(found, OpOverloadPacket) and overload in (None, *found.overloads()):
        return found if overload is None else getattr(found, overload)
    raise InputError(
        f"there is no operator {operator}", "import the library that registers it, and check its name"
    )


def overloads_of(operator: OpOverload | OpOverloadPacket) -> tuple[OpOverload, ...]:
    """The operator itself, or all overloads of a packet that have a schema of tensors."""
    if isinstance(operator, OpOverload):
        return (operator,)
    found = (getattr(operator, name) for name in operator.overloads())
    return tuple(overload for overload in found if tensor_arguments(overload))


def makes_view(operator: str) -> bool:
    """Whether an operator's schema says that its results share the memory of its first argument.

    False where this process does not know the operator.
    """
    try:
        overloads = overloads_of(find_operator(operator))
    except InputError:
        return False
    return any(result.alias_info is not None for item in overloads for result in item._schema.returns)


def tensor_arguments(operator: OpOverload) -> dict[str, bool]:
    """Names of the arguments that take tensors, in order, and whether each takes a list of them."""
    types = {argument.name: str(argument.type) for argument in operator._schema.arguments}
    return {name: "List[" in kind for name, kind in types.items() if "Tensor" in kind}


def defaults(operator: OpOverload) -> dict[str, Any]:
    """Arguments that may be left out, with their defaults."""
    given = operator._schema.arguments
    return {item.name: item.default_value for item in given if item.has_default_value()}


@cache
def _names(operator: Any) -> tuple[str, ...]:
    """Names of the arguments, in the schema's order."""
    return tuple(argument.name for argument in operator._schema.arguments)


def bound(operator: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by the names of the schema, defaults filled in, in its order.

    Raises:
        TypeError: there are too many arguments, too few, or one of another name.
    """
    names = _names(operator)
    if len(args) > len(names) or not set(kwargs) <= set(names[len(args) :]):
        raise TypeError(f"{operator} takes {', '.join(names)}")
    given = {**defaults(operator), **dict(zip(names, args, strict=False)), **kwargs}
    if missing := [name for name in names if name not in given]:
        raise TypeError(f"{operator} needs {', '.join(missing)}")
    return {name: given[name] for name in names}


def family(node: fx.Node) -> str:
    """The operator without its overload: ``aten.add``."""
    return ".".join(str(node.target).split(".")[:2])


def given_arguments(
    node: fx.Node, args: tuple[Any, ...] | None = None, kwargs: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The node's arguments, or those that stand for them, by the names of the operator's schema."""
    args, kwargs = node.args if args is None else args, node.kwargs if kwargs is None else kwargs
    return dict(zip(_names(node.target), args, strict=False)) | dict(kwargs)


def arguments(node: fx.Node) -> dict[str, Any]:
    """The same with defaults filled in, in the schema's order."""
    return bound(node.target, node.args, node.kwargs)  # type: ignore[arg-type]


def set_arguments(node: fx.Node, changes: Mapping[str, Any]) -> None:
    """Gives arguments of the node other values, by the names of the operator's schema."""
    names, count = _names(node.target), len(node.args)
    node.args = tuple(changes.get(name, value) for name, value in zip(names, node.args, strict=False))
    node.kwargs = {**node.kwargs, **{name: changes[name] for name in names[count:] if name in changes}}


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
        isinstance(node.target, OpOverload)
        and node.target._schema.is_mutable
        and isinstance(node.args[0], fx.Node)
    )


def draws_random(node: fx.Node) -> bool:
    """Whether the operator draws random numbers; a dropout that is switched off does not."""
    tags = node.target.tags if isinstance(node.target, OpOverload) else ()
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

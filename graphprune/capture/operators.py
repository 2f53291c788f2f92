"""Finding operators by name, and reading what their schemas say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch._ops import OpOverload, OpOverloadPacket

from graphprune.ground.errors import InputError

__all__ = ["bound", "defaults", "find_operator", "makes_view", "overloads_of", "tensor_arguments"]

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
    arguments = operator._schema.arguments
    return {item.name: item.default_value for item in arguments if item.has_default_value()}


def bound(operator: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by the names of the schema, defaults filled in, in its order.

    Raises:
        TypeError: there are too many arguments, too few, or one of another name.
    """
    names = [argument.name for argument in operator._schema.arguments]
    if len(args) > len(names) or not set(kwargs) <= set(names[len(args) :]):
        raise TypeError(f"{operator} takes {', '.join(names)}")
    given = {**defaults(operator), **dict(zip(names, args, strict=False)), **kwargs}
    if missing := [name for name in names if name not in given]:
        raise TypeError(f"{operator} needs {', '.join(missing)}")
    return {name: given[name] for name in names}

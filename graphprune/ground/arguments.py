"""The arguments of a model: the tensors in them, and those that were constants at capture.

Constants are part of a program, so other values are refused: a graph calls `require_same` for each. It is a function
and not an assertion, which `python -O` would drop.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from numbers import Number
from typing import Any

import torch
from torch import fx
from torch.overrides import handle_torch_function, has_torch_function
from torch.utils._pytree import tree_leaves

from graphprune.ground.errors import InputError

__all__ = [
    "LIMITS",
    "OTHER_SIZE",
    "count_items",
    "device_of",
    "dtype_of",
    "examples_in",
    "is_constant",
    "limit_of",
    "read_attribute",
    "remedy",
    "require",
    "require_same",
    "tensor_leaves",
]

OTHER_SIZE = (
    "capture the model again with an example of this size"  # what to do where `require` refuses a size
)


def tensor_leaves(value: Any) -> list[torch.Tensor]:
    """The tensors anywhere in nested arguments, in order."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def examples_in(leaves: Iterable[Any]) -> int:
    """How many examples a call has: the length of its first tensor that has one."""
    return next((len(leaf) for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.dim()), 1)


def require_same(name: str, value: Any, captured: Any) -> None:
    """Does nothing if `value`, given for the argument `name`, is what the program was captured with.

    Raises:
        InputError: it is another value, or a tensor.
    """
    if has_torch_function((value,)):  # symbolic tracing, which is to keep this call
        handle_torch_function(require_same, (value,), name, value, captured)
    elif not _same(value, captured):
        plain = value is None or isinstance(value, bool | int | float | str)
        now = repr(value) if plain else f"a {type(value).__name__}"
        raise InputError(f"{name} is {now}, but was {captured!r} at capture", remedy(captured))


def require(holds: bool, message: str) -> None:
    """Does nothing where a condition on the sizes of a call holds, under which the program was captured.

    Raises:
        InputError: it does not hold; ``message`` says which input, which sizes are right, and why.
    """
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        assert holds, message  # TorchScript has no errors of other classes
    elif has_torch_function((holds,)):  # symbolic tracing, which is to keep this call
        handle_torch_function(require, (holds,), holds, message)
    elif not _holds(holds):
        raise InputError(message, OTHER_SIZE)


def _holds(condition: bool) -> bool:
    """The condition in this call. `torch.jit.trace` records no conditions, and would warn of each."""
    with warnings.catch_warnings():
        if torch.jit.is_tracing():  # type: ignore[attr-defined]
            warnings.simplefilter("ignore")
        return bool(condition)


def read_attribute(value: Any, name: str) -> Any:
    """``value.name``, where an argument is an object that holds tensors.

    Raises:
        InputError: there is no such attribute, or it is one of Python's own.
    """
    if has_torch_function((value,)):
        return handle_torch_function(read_attribute, (value,), value, name)
    if not name.isidentifier() or name.startswith("__") or not hasattr(value, name):
        raise InputError(
            f"an argument is a {type(value).__name__}, which has no {name!r}",
            "give what the model was captured with",
        )
    return getattr(value, name)


def count_items(value: Any) -> int:
    """The number of items in a list that an argument holds."""
    if has_torch_function((value,)):
        return handle_torch_function(count_items, (value,), value)
    return len(value)


def device_of(tensor: torch.Tensor) -> torch.device:
    """The device of an input, on which a program makes its own tensors too."""
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        return tensor.device
    if has_torch_function((tensor,)):  # symbolic tracing, which is to keep this call
        return handle_torch_function(device_of, (tensor,), tensor)
    return tensor.device


LIMITS = ("min", "max", "eps", "smallest_normal", "resolution")


def dtype_of(tensor: torch.Tensor) -> torch.dtype:
    """The dtype of a tensor, in which a program makes others too."""
    if has_torch_function((tensor,)):  # symbolic tracing, which is to keep this call
        return handle_torch_function(dtype_of, (tensor,), tensor)
    return tensor.dtype


def limit_of(dtype: torch.dtype, name: str) -> float:
    """``torch.finfo(dtype).min``, or another limit of a floating dtype.

    Raises:
        InputError: it is no floating dtype, or has no such limit.
    """
    if has_torch_function((dtype,)):
        return handle_torch_function(limit_of, (dtype,), dtype, name)
    if name not in LIMITS or not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InputError(f"{dtype} has no limit {name!r}", "cast the model to a floating dtype")
    return float(getattr(torch.finfo(dtype), name))


def remedy(captured: Any) -> str:
    """What to do where another value than `captured` is wanted."""
    what = "a tensor" if captured is None else "the value you want"
    return f"leave it so, or capture the model again with {what}"


def is_constant(value: Any) -> bool:
    """Whether `value` consists of None, booleans, numbers and texts alone, each equal to itself."""
    return all(
        leaf is None or (isinstance(leaf, bool | int | float | complex | str) and leaf == leaf)
        for leaf in tree_leaves(value, is_leaf=lambda leaf: leaf is None)
    )


def _same(value: Any, captured: Any) -> bool:
    if tensor_leaves(value):
        return False  # comparing it would give a tensor
    numbers = isinstance(value, Number) and isinstance(captured, Number)
    return (numbers or isinstance(value, type(captured))) and bool(value == captured)


fx.has_side_effect(require)
fx.has_side_effect(require_same)  # a call that nobody uses is not dead

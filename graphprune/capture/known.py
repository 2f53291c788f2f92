"""Runs without data that ask torch once: an operator gives the same shapes again where it is given the same again.

torch computes most shapes of tensors on the meta device in Python, which takes nearly all of such a run. The layers of
a model repeat each other, and so do its runs at the same sizes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tag, Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Known"]


class Known(TorchDispatchMode):
    """While it is on, operators on the meta device are looked up, and run only where they are not known."""

    supports_higher_order_operators = True

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """What the user's model compiles is compiled as ever; torch would else skip it for good."""
        return True

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[Any, Any] = {}
        self._kinds: dict[Any, str] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in self._kinds:
            self._kinds[func] = _kind(func)
        kind = self._kinds[func]
        key = self._key(func, args, kwargs) if kind else None
        if key is None:
            return func(*args, **kwargs)
        if key not in self._known:
            before = _described(args[0]) if kind == "in place" else None
            result = func(*args, **kwargs)
            self._known[key] = described = _described(result)
            if kind == "in place" and described != before:
                self._known[key] = None
            return result
        described = self._known[key]
        if described is None:
            return func(*args, **kwargs)
        return args[0] if kind == "in place" else _made(described)

    def _key(self, func: Any, args: Any, kwargs: Any) -> Any:
        """All that the result's shapes depend on; None if that cannot be told."""
        try:
            given = _told(args), _told(tuple(kwargs.items()))
            key = (func, torch.get_default_dtype(), given)
            hash(key)
        except (_UntoldError, TypeError):
            return None
        return key


class _UntoldError(Exception):
    """An argument whose every property is not known."""


def _kind(func: Any) -> str:
    """Whether an operator makes tensors of their own ("new"), or gives back what it wrote into; empty for others."""
    if not isinstance(func, OpOverload):  # it runs graphs, as torch.cond does
        return ""
    schema = func._schema
    if not schema.is_mutable:
        return "new" if all(result.alias_info is None for result in schema.returns) else ""
    written = [argument for argument in schema.arguments if argument.alias_info is not None]
    alone = written == schema.arguments[:1] and len(schema.returns) == 1
    return "in place" if alone and schema.name.endswith("_") and Tag.inplace_view not in func.tags else ""


def _told(value: Any) -> Any:
    """An argument by what shapes depend on, with its type: 1, 1.0 and True are not the same to torch."""
    if isinstance(value, Tensor):
        if not _is_plain(value):
            raise _UntoldError
        return value.shape, value.stride(), value.dtype
    if isinstance(value, tuple | list):
        return tuple(map(_told, value))
    return type(value), value


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is known by its shape, strides and dtype."""
    return (
        type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.is_meta
        and tensor.layout is torch.strided
        and not (tensor.requires_grad or tensor.is_conj() or tensor.is_neg() or tensor.is_quantized)
    )


def _described(result: Any) -> Any:
    """What tensors like ``result`` are made of; None if some cannot be."""
    if isinstance(result, Tensor):
        return (result.shape, result.stride(), result.dtype) if _is_plain(result) else None
    if isinstance(result, tuple | list):
        items = list(map(_described, result))
        return None if any(item is None for item in items) else (type(result), items)
    return None


def _made(described: Any) -> Any:
    if len(described) == 2:
        kind, items = described
        return kind(map(_made, items))
    shape, stride, dtype = described
    return torch.empty_strided(shape, stride, dtype=dtype, device="meta")

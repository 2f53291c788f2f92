"""While a model is traced, its modules see functions of Python that pass on what numbers remember.

``min(size, 512)`` would else be a decision, and ``math.sqrt(size)`` or ``len(x)`` a constant. `torch.fx` puts its own
functions into the globals of modules in the same way. torch's own modules of Python code are among them; they are also
kept from giving a whole function such as `torch.nn.functional.interpolate` to a mode as one call.
"""

from __future__ import annotations

import contextlib
import functools
import math
import sys
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.capture.remembered import Real, Size, computed

__all__ = ["followed", "real_types"]

_TORCHS = (torch.nn.functional, torch.functional)
_FUNCTIONS = ("sqrt", "log", "log2", "log10", "exp", "pow")


def _length(value: Any) -> Any:
    return value.shape[0] if isinstance(value, Tensor) and value.dim() else len(value)


def _extreme(function: Callable[..., Any], of_two: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def found(*args: Any, **kwargs: Any) -> Any:
        items = list(args[0]) if len(args) == 1 else list(args)
        if kwargs or not any(isinstance(item, Size | Real) for item in items):
            return function(*args, **kwargs) if len(args) != 1 else function(items, **kwargs)
        if not all(isinstance(item, int | float) for item in items):
            return function(items)
        return functools.reduce(lambda one, other: computed(of_two, (one, other), function), items)

    return found


class _Math(ModuleType):
    """`math`, with functions of one number that remember."""

    def __init__(self) -> None:
        super().__init__("math")
        self.__dict__.update(vars(math))
        for name in _FUNCTIONS:
            self.__dict__[name] = functools.partial(_remembering, getattr(math, name))


def _remembering(function: Callable[..., Any], *args: Any) -> Any:
    if any(isinstance(argument, Size | Real) for argument in args):
        return computed(function, args, function)
    return function(*args)


class _Converting(type):
    """The class of what stands for ``int`` and ``float``: whoever asks for the type gets the answer of the real one."""

    real: type

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.real)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.real)

    def __eq__(cls, other: object) -> bool:
        return other is cls.real or other is cls

    def __hash__(cls) -> int:
        return hash(cls.real)

    def __call__(cls, *args: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], Size | Real):
            return computed(_CONVERSIONS[cls.real], args, cls.real)
        return cls.real(*args)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls.real, name)


class _Int(metaclass=_Converting):
    real = int


class _Float(metaclass=_Converting):
    real = float


_CONVERSIONS: dict[type, Callable[..., Any]] = {int: math.trunc, float: torch.sym_float}


def real_types(value: Any) -> Any:
    """A type in the arguments of a call, as torch knows it: ``dtype=int``."""
    return value.real if isinstance(value, _Converting) else value


_OURS: dict[str, Any] = {
    "int": _Int,
    "float": _Float,
    "len": _length,
    "min": _extreme(min, torch.sym_min),
    "max": _extreme(max, torch.sym_max),
}


@contextlib.contextmanager
def followed(model: nn.Module) -> Iterator[None]:
    """Changes the globals of the modules that the code of ``model`` is defined in, and puts them back.

    These are the modules of its parts' classes, of the functions that those import, and of what these import in turn.
    """
    spaces = [*_spaces(model), *(vars(module) for module in _TORCHS)]
    changes = [(space, name, value) for space in spaces for name, value in _changes(space)]
    before = [(space, name, space.get(name, _ABSENT)) for space, name, _ in changes]
    for space, name, value in changes:
        space[name] = value
    try:
        yield
    finally:
        for space, name, value in before:
            if value is _ABSENT:
                space.pop(name, None)
            else:
                space[name] = value


_ABSENT = object()
_NOT_USERS = {"torch", __name__.partition(".")[0], *sys.stdlib_module_names}


def _spaces(model: nn.Module) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    classes = {base for part in model.modules() for base in type(part).__mro__}
    left = {base.__module__ for base in classes}
    while left:
        name = left.pop()
        if name in found or name.partition(".")[0] in _NOT_USERS or name not in sys.modules:
            continue
        found[name] = vars(sys.modules[name])
        functions = (value for value in found[name].values() if isinstance(value, FunctionType))
        left |= {function.__module__ for function in functions if function.__module__}
    return list(found.values())


def _changes(space: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from ((name, value) for name, value in _OURS.items() if name not in space)
    for name, value in space.items():
        if value is math:
            yield name, _Math()
        elif (
            isinstance(value, BuiltinFunctionType)
            and value.__module__ == "math"
            and value.__name__ in _FUNCTIONS
        ):
            yield name, functools.partial(_remembering, value)
    if any(space is vars(module) for module in _TORCHS):
        yield from ((name, _never) for name in space if name.startswith("has_torch_function"))


def _never(*_: Any) -> bool:
    return False

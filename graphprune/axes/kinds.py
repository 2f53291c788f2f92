"""Kinds of layers: which kernel computes an operator, and which of its dimensions that kernel takes in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from graphprune.axes.terms import Term
from graphprune.capture.operations import Operation, Value

__all__ = ["KINDS", "Layer", "layers"]

# what a runtime has kernels for
KINDS = ("convolution", "depthwise", "grouped", "linear", "attention")


@dataclass(frozen=True)
class Layer:
    """An operator that multiplies, with the axes that its kernel walks through in blocks."""

    operation: Operation
    kind: str
    channels: tuple[Term, ...]


_Dims = tuple[str, int]  # an argument, or "" for the result, and one of its dimensions


def _convolution(operation: Operation) -> tuple[str, tuple[_Dims, ...]]:
    weight, groups = operation.arguments["weight"], operation.arguments["groups"]
    channel = 1 - len(weight.shape)
    source = operation.arguments["input"]
    several = "depthwise" if groups == source.shape[channel] else "grouped"
    return "convolution" if groups == 1 else several, (("input", channel), ("", channel))


def _linear(first: str) -> Callable[[Operation], tuple[str, tuple[_Dims, ...]]]:
    return lambda operation: ("linear", ((first, -1), ("", -1)))


def _attention(operation: Operation) -> tuple[str, tuple[_Dims, ...]]:
    return "attention", (("query", -1), ("value", -1))


# operator without overload → its kind and where its channels are
_TABLE: Mapping[str, Callable[[Operation], tuple[str, tuple[_Dims, ...]]]] = {
    **{
        f"aten.conv{transposed}{rank}d": _convolution
        for transposed in ("", "_transpose")
        for rank in (1, 2, 3)
    },
    "aten.linear": _linear("input"),
    "aten.addmm": _linear("mat1"),
    "aten.baddbmm": _linear("batch1"),
    **{f"aten.{name}": _linear("self") for name in ("mm", "bmm", "matmul")},
    "aten.scaled_dot_product_attention": _attention,
}


def layers(operations: Iterable[Operation], terms: Mapping[str, tuple[Term, ...]]) -> list[Layer]:
    """The operators that have a kind, in order.

    Args:
        terms: value name → one term per dimension.
    """
    found = []
    for operation in operations:
        describe = _TABLE.get(operation.family)
        if describe is not None:
            kind, dims = describe(operation)
            values = [(_value(operation, name), dim) for name, dim in dims]
            channels = tuple(terms[value.name][dim] for value, dim in values if terms[value.name])
            found.append(Layer(operation, kind, channels))
    return found


def _value(operation: Operation, name: str) -> Value:
    value = operation.arguments[name] if name else operation.outputs[0]
    assert isinstance(value, Value)
    return value

"""Kinds of layers: which kernel computes an operator, and which of its dimensions that kernel takes in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphprune.axes.terms import Term
from graphprune.capture.operations import Operation, Value
from graphprune.capture.roles import ROLES

__all__ = ["KINDS", "Layer", "layers"]

# kinds of layers for which runtimes have kernels of their own
KINDS = ("convolution", "depthwise", "grouped", "linear", "attention")


@dataclass(frozen=True)
class Layer:
    """An operator that multiplies, with the axes that its kernel walks through in blocks."""

    operation: Operation
    kind: str
    channels: tuple[Term, ...]


def layers(operations: Iterable[Operation], terms: Mapping[str, tuple[Term, ...]]) -> list[Layer]:
    """The operators that have a kind, in order.

    Args:
        terms: value name → one term per dimension.
    """
    described = ((operation, _described(operation)) for operation in operations)
    return [
        Layer(operation, kind, tuple(terms[value.name][dim] for value, dim in places if terms[value.name]))
        for operation, (kind, places) in described
        if kind
    ]


def _described(operation: Operation) -> tuple[str, list[tuple[Value, int]]]:
    """The kind of an operator, empty if it has none, and the dimensions that are its channels."""
    given, result = operation.arguments, operation.outputs[:1]
    if operation.family == "aten.scaled_dot_product_attention":
        return "attention", [(given["query"], -1), (given["value"], -1)]
    roles = ROLES.get(operation.family)
    if roles is not None and roles.kind in ("linear", "product"):
        return "linear", [(value, -1) for value in (given[roles.source], *result)]
    if roles is not None and roles.kind in ("convolution", "transposed"):
        source, groups, channel = given[roles.source], given["groups"], 1 - len(given[roles.weight].shape)
        several = "depthwise" if groups == source.shape[channel] else "grouped"
        return "convolution" if groups == 1 else several, [(value, channel) for value in (source, *result)]
    return "", []

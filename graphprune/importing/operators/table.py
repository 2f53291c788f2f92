"""All operators of ONNX that can be run."""

from __future__ import annotations

from graphprune.importing.node import Operator
from graphprune.importing.operators import (
    attention,
    byte_wise,
    convolutions,
    elementwise,
    fused,
    indexing,
    matrices,
    norms,
    pools,
    quantised,
    recurrent,
    reductions,
    resizing,
    shapes,
)

__all__ = ["OPERATORS"]

_FAMILIES = (
    attention,
    byte_wise,
    convolutions,
    elementwise,
    fused,
    indexing,
    matrices,
    norms,
    pools,
    quantised,
    recurrent,
    reductions,
    resizing,
    shapes,
)


def _merged() -> dict[str, Operator]:
    table: dict[str, Operator] = {}
    for family in _FAMILIES:
        for name, operator in family.OPERATORS.items():
            if name in table:
                raise ValueError(f"{name} stands in two tables")
            table[name] = operator
    return dict(sorted(table.items()))


OPERATORS = _merged()

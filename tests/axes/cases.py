"""One row or more for every operator with a rule; in-place twins follow from the functional rows."""

from __future__ import annotations

from dataclasses import replace

import cases_contractions
import cases_indexing
import cases_losses
import cases_matrices
import cases_pointwise
import cases_recurrent
import cases_reductions
import cases_spectral
import cases_views
import cases_windows
import torch
from draws import Draw, Row

from graphprune.axes.rules import RULES

__all__ = ["ROWS", "TABLES", "rule_name"]


def rule_name(op: str) -> str:
    """The name under which the rule of ``op`` is registered."""
    return op if op in RULES else op.rpartition(".")[0]


def _twin(row: Row) -> Row | None:
    """The in-place operator on the same arguments, where there is one and the result fits in ``self``."""
    packet = getattr(torch.ops.aten, row.op.split(".")[1] + "_", None)
    name = row.op.split(".")[2]
    if f"{row.family}_" not in RULES or packet is None or name not in packet.overloads():
        return None
    twin = replace(row, op=f"{row.family}_.{name}")
    args, kwargs = twin.make(Draw(0))
    try:
        twin.overload(*args, **kwargs)
    except RuntimeError:
        return None
    return twin


def _with_twins(rows: list[Row]) -> list[Row]:
    return [*rows, *(twin for row in rows if (twin := _twin(row)))]


# the family of rules, as its file is called → its rows
TABLES: dict[str, list[Row]] = {
    table.__name__.removeprefix("cases_"): _with_twins(table.ROWS)
    for table in (
        cases_pointwise,
        cases_reductions,
        cases_losses,
        cases_matrices,
        cases_contractions,
        cases_recurrent,
        cases_indexing,
        cases_spectral,
        cases_views,
        cases_windows,
    )
}
ROWS = [row for rows in TABLES.values() for row in rows]

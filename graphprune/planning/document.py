"""What stands in a plan.json: its schema, see `graphprune.ground.documents`."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

__all__ = ["PlanDocument", "PlanRequest"]

Numbers = dict[str, float]
Words = list[str]


class PlanRequest(TypedDict, total=False):
    """How a plan was asked for, as `graphprune.asking.record` writes it; there may be more, which nothing reads."""

    budget: dict[str, float | str]
    lossless: bool
    importance: str
    ranking: str
    ratios: dict[str, float | str]
    multiples: dict[str, int]
    align: int | str
    min_keep: int
    max_ratio: float
    protect: Words
    ties: list[str | Words]
    seed: int
    outputs: Words
    dynamic: str
    export_dtype: str
    not_slower: bool
    cut_tables: bool
    keep_denormals: bool
    simplify: bool
    rounds: int
    times: str
    measured: dict[str, Any]


class PlanDocument(TypedDict):
    """A plan; kept units are lists of whole numbers, or lists of such lists."""

    format: int
    model: str
    request: PlanRequest
    groups: dict[str, Any]
    tensors: dict[str, dict[str, Any]]

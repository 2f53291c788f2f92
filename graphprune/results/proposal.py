"""What a plan returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphprune.capture.dimensions import Dimension
from graphprune.planning import Plan
from graphprune.report.sizes import dimension_rows

__all__ = ["Proposal"]


@dataclass(frozen=True)
class Proposal:
    """A plan that has not been carried out.

    Attributes:
        plan: what would be kept.
        before: costs of the original: "macs", "params", "memory" (bytes) and, where a budget asks for them,
            "onnx_bytes" and "latency" (milliseconds).
        after: what the plan would leave of them, latency as far as it can be predicted.
        smallest: the least that the request's constraints allow.
        widths: group → units before and after.
        dimensions: those of the inputs; they say which sizes vary.
    """

    plan: Plan
    before: Mapping[str, float]
    after: Mapping[str, float]
    smallest: Mapping[str, float]
    widths: Mapping[str, tuple[int, int]]
    dimensions: tuple[Dimension, ...] = ()

    def __repr__(self) -> str:
        costs = (f"{kind}={self.before[kind]:,.5g} → {self.after[kind]:,.5g}" for kind in self.after)
        return f"Proposal({', '.join(costs)}, {self.plan})"

    def to_dict(self) -> dict[str, Any]:
        """For `json.dumps`."""
        return {
            "request": self.plan.request,
            "before": dict(self.before),
            "after": dict(self.after),
            "smallest": dict(self.smallest),
            "groups": {name: {"size": size, "kept": kept} for name, (size, kept) in self.widths.items()},
            "dimensions": dimension_rows(self.dimensions),
        }

"""Whether the file that was written has the bytes that were asked for."""

from __future__ import annotations

from graphprune.planning import Budget, Plan
from graphprune.profiling import Profile
from graphprune.verifying import Check

__all__ = ["bytes_met"]


def bytes_met(plan: Plan, profile: Profile | None, written: int) -> tuple[Check, ...]:
    """The check of a budget of bytes, where there is one; they were foretold so far."""
    asked = plan.request.get("budget", {}).get("onnx_bytes")
    if asked is None or profile is None:
        return ()
    budget = Budget.parse("onnx_bytes", asked)
    share = written / (budget.value if budget.absolute else budget.value * profile.bytes)
    return (Check("the file has the bytes that were asked for", share <= 1.01, share, 1.01),)

"""What was checked, with the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Check", "Verdict"]


@dataclass(frozen=True)
class Check:
    """One check: the ``figure`` found, the ``limit`` it had to keep, and where it failed if it did.

    ``ran`` is False where what it compares could not be computed, so that nothing is known to differ.
    """

    name: str
    passed: bool
    figure: float
    limit: float
    detail: str = ""
    ran: bool = True

    @classmethod
    def without(cls, name: str, wrong: Sequence[str]) -> Check:
        """A check that nothing is ``wrong``: the figure is how many things are, the detail names the first ones."""
        return cls(name, not wrong, len(wrong), 0, ", ".join(wrong[:3]))

    def __str__(self) -> str:
        mark = "passed" if self.passed else "FAILED"
        return f"{self.name}: {mark}, {self.figure:.3g} (limit {self.limit:.3g})" + (
            f", {self.detail}" if self.detail else ""
        )


@dataclass(frozen=True)
class Verdict:
    """All checks of one shrink."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def __str__(self) -> str:
        return "\n".join(map(str, self.checks))

    def with_checks(self, *checks: Check) -> Verdict:
        """This verdict with more checks."""
        return Verdict((*self.checks, *checks))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"passed": self.passed, "checks": [asdict(check) for check in self.checks]}

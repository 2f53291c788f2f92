"""A cut that was proved, repaired on calibration data, and proved again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from graphprune.asking.request import Request
from graphprune.calibration import Calibration
from graphprune.cutting.cut import Cut
from graphprune.cutting.kept import keep, recall
from graphprune.ground.clock import Clock
from graphprune.ground.errors import VerificationError
from graphprune.repair import Repair, repair
from graphprune.verifying import Check, verify_repaired

__all__ = ["Repairing", "repairing"]


@dataclass(frozen=True)
class Repairing:
    """What is to be repaired, and with which data."""

    options: Repair
    calibration: Any
    seed: int

    def attempt(self, cut: Cut) -> Cut:
        """The cut with repaired tensors and a report, not proved; as a killed run has left them, if one has."""
        asked = self.calibration, self.options, self.seed
        if (found := recall(cut, *asked)) is None:
            data = Calibration(self.calibration, seed=self.seed)
            found = repair(cut.graph, cut.plan, cut.slim, data, self.options, self.seed)
            keep(found, cut, *asked)
        better, report = found
        plan = replace(cut.plan, request={**cut.plan.request, "repair": asdict(self.options)})
        return replace(cut, plan=plan, slim=better, repair=report)

    def __call__(self, cut: Cut, clock: Clock) -> Cut:
        """The cut with repaired tensors, where they bring it nearer to the original; else as it was, with the report.

        Raises:
            InputError: the calibration data do not fit.
            VerificationError: the repaired model is not what it should be.
        """
        with clock("repair"):
            better = self.attempt(cut)
        report = better.repair
        assert report is not None
        if not report.kept:
            return replace(better, slim=cut.slim)
        with clock("verify the repair"):
            near = Check(
                "repaired outputs are no farther from the original", True, report.after, report.before
            )
            checks = (
                near,
                *verify_repaired(cut.slim, better.slim, better.module, report.tensors, self.seed),
            )
            failed = "; ".join(str(check) for check in checks if not check.passed)
            if failed:
                raise VerificationError(
                    f"the repaired model is not what was asked for: {failed}",
                    "shrink without repair, and report the model",
                )
        return replace(better, verdict=cut.verdict.with_checks(*checks))


def repairing(request: Request) -> Repairing | None:
    """What the request asks to be repaired; None for nothing."""
    if not request.repair:
        return None
    options = Repair() if request.repair is True else request.repair
    return Repairing(options, request.calibration, request.seed)

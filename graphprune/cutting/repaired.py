"""Composes the repair with what a shrink has proved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from graphprune.axes.dependency import DependencyGraph
from graphprune.calibration import Calibration
from graphprune.capture import Program
from graphprune.capture.raising import raise_program
from graphprune.ground.clock import Clock
from graphprune.ground.errors import InputError, VerificationError
from graphprune.planning import Plan
from graphprune.repair import Repair, RepairReport, repair
from graphprune.results.result import Result
from graphprune.verifying import Check, verify_repaired

__all__ = ["Repairing", "find_repair", "reusable"]


@dataclass(frozen=True)
class Repairing:
    """What is to be repaired, and with which data."""

    options: Repair
    calibration: Any
    seed: int

    def repaired(self, graph: DependencyGraph, plan: Plan, cut: Program) -> tuple[Program, RepairReport]:
        """``cut``, which ``plan`` makes of the graph's program, with repaired tensors; see `repair`."""
        data = Calibration(self.calibration, seed=self.seed)
        return repair(graph, plan, cut, data, self.options, self.seed)

    def __call__(self, result: Result, cut: Program, clock: Clock) -> Result:
        """The result with repaired tensors, where they bring it nearer to the original.

        Args:
            cut: the slim program that ``result`` was raised from, and that was verified.

        Raises:
            InputError: the calibration data do not fit.
            VerificationError: the repaired model is not what it should be.
        """
        with clock("repair"):
            better, report = self.repaired(result.graph, result.plan, cut)
        request = {**result.plan.request, "repair": asdict(self.options)}
        result = replace(result, repair=report, plan=replace(result.plan, request=request))
        if not report.kept:
            return result
        with clock("verify the repair"):
            module = raise_program(better)
            near = Check(
                "repaired outputs are no farther from the original", True, report.after, report.before
            )
            checks = (near, *verify_repaired(cut, better, module, report.tensors, self.seed))
            failed = "; ".join(str(check) for check in checks if not check.passed)
            if failed:
                raise VerificationError(
                    f"the repaired model is not what was asked for: {failed}",
                    "shrink without repair, and report the model",
                )
        return replace(result, model=module, verdict=result.verdict.with_checks(*checks))


def find_repair(given: bool | Repair, calibration: Any, lossless: bool, seed: int) -> Repairing | None:
    """What is to be repaired; None for nothing.

    Raises:
        InputError: there are no calibration data, or nothing will be lost.
    """
    if given is False:
        return None
    if calibration is None:
        raise InputError(
            "repair looks at data, and there is none",
            "give calibration batches: calibration=DataLoader(...), or --calibration FILE",
        )
    if lossless:
        raise InputError("a lossless shrink leaves nothing to repair", "leave repair out")
    return Repairing(Repair() if given is True else given, calibration, seed)


def reusable(batches: Any) -> Any:
    """``batches``, to be walked as often as needed: what an iterator gives is held in memory, all at once."""
    return list(batches) if isinstance(batches, Iterator) else batches

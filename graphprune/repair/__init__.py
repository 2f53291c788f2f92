"""A verified slim program → the same with weights, biases and statistics nearer to the original, without training."""

from graphprune.repair.report import RepairReport, StepReport
from graphprune.repair.sequential import Repair, repair

__all__ = ["Repair", "RepairReport", "StepReport", "repair"]

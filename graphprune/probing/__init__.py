"""Probing: what each group's removal alone does to the output, measured."""

from graphprune.probing.curves import Point, Sensitivity
from graphprune.probing.measuring import RATIOS, Watch, measured
from graphprune.probing.record import Record

__all__ = ["RATIOS", "Point", "Record", "Sensitivity", "Watch", "measured"]

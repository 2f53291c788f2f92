"""Probing: what each group's removal alone does to the output, measured."""

from graphprune.probing.curves import Sensitivity
from graphprune.probing.measuring import RATIOS, Point, Record, Watch, measured

__all__ = ["RATIOS", "Point", "Record", "Sensitivity", "Watch", "measured"]

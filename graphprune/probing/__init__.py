"""Probing: what each group's removal alone does to the output, measured."""

from graphprune.probing.curves import Point, Sensitivity
from graphprune.probing.measuring import RATIOS, Course, Watch, probe
from graphprune.probing.record import Record

__all__ = ["RATIOS", "Course", "Point", "Record", "Sensitivity", "Watch", "probe"]

"""Probing: what each group's removal alone does to the output, measured."""

from graphprune.probing.balancing import balanced, check_trials
from graphprune.probing.curves import Point, Sensitivity
from graphprune.probing.measuring import DISTANCES, RATIOS, Evaluate, Watch, distance_of, harm_of, probe
from graphprune.probing.record import Record

__all__ = [
    "DISTANCES",
    "RATIOS",
    "Evaluate",
    "Point",
    "Record",
    "Sensitivity",
    "Watch",
    "balanced",
    "check_trials",
    "distance_of",
    "harm_of",
    "probe",
]

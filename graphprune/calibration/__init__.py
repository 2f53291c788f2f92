"""Batches of data, losses on them, and distances between outputs."""

from graphprune.calibration.batches import Calibration
from graphprune.calibration.distances import DISTANCES, Distance
from graphprune.calibration.fidelity import Fidelity, fidelity
from graphprune.calibration.losses import Evaluate, Loss, call_loss

__all__ = ["DISTANCES", "Calibration", "Distance", "Evaluate", "Fidelity", "Loss", "call_loss", "fidelity"]

"""Importance criteria: how much each unit of each group matters."""

from graphprune.scoring.calibration import Calibration
from graphprune.scoring.criteria import CRITERIA, Criterion, Importance, find_importance
from graphprune.scoring.losses import Loss, call_loss
from graphprune.scoring.peer import PeerImportance

__all__ = [
    "CRITERIA",
    "Calibration",
    "Criterion",
    "Importance",
    "Loss",
    "PeerImportance",
    "call_loss",
    "find_importance",
]

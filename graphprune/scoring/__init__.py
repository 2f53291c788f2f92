"""Importance criteria: how much each unit of each group matters."""

from graphprune.scoring.criteria import CRITERIA, Criterion, Importance, find_importance
from graphprune.scoring.peer import PeerImportance

__all__ = [
    "CRITERIA",
    "Criterion",
    "Importance",
    "PeerImportance",
    "find_importance",
]

"""Importance criteria: how much each unit of each group matters."""

from graphprune.scoring.criteria import CRITERIA, Importance, find_importance

__all__ = ["CRITERIA", "Importance", "find_importance"]

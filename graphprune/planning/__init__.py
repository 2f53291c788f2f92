"""Scores and budgets → `Plan`."""

from graphprune.planning.budgets import Budget, choose
from graphprune.planning.constraints import Constraints, find_limits
from graphprune.planning.masks import Masks
from graphprune.planning.plan import Plan, make_masks, make_plan

__all__ = ["Budget", "Constraints", "Masks", "Plan", "choose", "find_limits", "make_masks", "make_plan"]

"""Scores and budgets → `Plan`."""

from graphprune.planning.budgets import Budget, choose
from graphprune.planning.constraints import Constraints, find_limits
from graphprune.planning.masks import Masks
from graphprune.planning.plan import Plan, make_masks, make_plan
from graphprune.planning.ranking import RANKINGS, check_ranking

__all__ = [
    "RANKINGS",
    "Budget",
    "Constraints",
    "Masks",
    "Plan",
    "check_ranking",
    "choose",
    "find_limits",
    "make_masks",
    "make_plan",
]

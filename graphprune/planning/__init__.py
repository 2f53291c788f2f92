"""Scores and budgets → `Plan`."""

from graphprune.planning.budgets import COSTS, Budget, Target
from graphprune.planning.choosing import choose, known_costs
from graphprune.planning.composing import spread
from graphprune.planning.constraints import Constraints, Limit, find_limits
from graphprune.planning.masks import Masks
from graphprune.planning.plan import Plan, make_masks, make_plan
from graphprune.planning.ranking import RANKINGS, check_ranking

__all__ = [
    "COSTS",
    "RANKINGS",
    "Budget",
    "Constraints",
    "Limit",
    "Masks",
    "Plan",
    "Target",
    "check_ranking",
    "choose",
    "find_limits",
    "known_costs",
    "make_masks",
    "make_plan",
    "spread",
]

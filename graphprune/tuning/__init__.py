"""Winning back accuracy: fine-tuning with the original as teacher. Importing this imports no accelerate."""

from graphprune.tuning.job import Job, Moment, Watch
from graphprune.tuning.settings import Tuning
from graphprune.tuning.sparsity import GroupLasso, group_lasso
from graphprune.tuning.trainer import fine_tune

__all__ = [
    "GroupLasso",
    "Job",
    "Moment",
    "Tuning",
    "Watch",
    "fine_tune",
    "group_lasso",
]

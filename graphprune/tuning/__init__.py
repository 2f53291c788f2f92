"""Winning back accuracy: fine-tuning with the original as teacher. Importing this imports no accelerate."""

from graphprune.tuning.job import Job, Moment, Watch
from graphprune.tuning.sparsity import GroupLasso, group_lasso
from graphprune.tuning.trainer import fine_tune

__all__ = [
    "GroupLasso",
    "Job",
    "Moment",
    "Watch",
    "fine_tune",
    "group_lasso",
]

"""Finds what can be removed from a model without changing what it computes."""

from graphprune.lossless.find import Lossless, find_lossless
from graphprune.lossless.report import GroupReport, LosslessReport, TensorReport, make_report

__all__ = ["GroupReport", "Lossless", "LosslessReport", "TensorReport", "find_lossless", "make_report"]

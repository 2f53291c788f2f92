"""The law of a rule, tried on the real operator: `graphprune.check_rule`."""

from graphprune.laws.check import RuleReport, check_rule

__all__ = ["RuleReport", "check_rule"]

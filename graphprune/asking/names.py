"""Names that options take, for completion, which imports nothing heavy; tests compare them with the tables."""

from __future__ import annotations

__all__ = ["AGGREGATES", "IMPORTANCES", "NORMALISERS", "RANKINGS", "SCHEDULES", "complete_importance"]

IMPORTANCES = (
    "auto l1 l2 linf lamp bn_scale random fpgm cosine activation_mean activation_variance activation_norm apoz wanda "
    "fluctuation contribution taylor taylor_abs obd fisher reconstruction refit refit_shrunk"
).split()
AGGREGATES = "sum mean max prod first producers".split()
NORMALISERS = "none mean max sum standard lamp".split()
RANKINGS = ("global", "uniform", "isomorphic", "per_cost")
SCHEDULES = ("linear", "geometric")


def complete_importance(incomplete: str) -> list[str]:
    """What ``NAME:AGGREGATE:NORMALISE`` may be that begins so.

    >>> complete_importance("tay"), complete_importance("l2:me"), complete_importance("l2::s")
    (['taylor', 'taylor_abs'], ['l2:mean'], ['l2::sum', 'l2::standard'])
    """
    *before, last = incomplete.split(":")
    tables = (IMPORTANCES, AGGREGATES, NORMALISERS)
    known = tables[len(before)] if len(before) < len(tables) and before[:1] != ["auto"] else []
    return [":".join([*before, name]) for name in known if name.startswith(last)]

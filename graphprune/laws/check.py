"""Whether a rule keeps the law, which axis breaks it, and which pins are needless.

The law: cut some units out of the arguments and run the operator, or set those units to zero, run it, and cut
them out of the result. Both must give the same. For ``y = x @ w.T`` with 3 of 5 columns of x and w kept, y must be
the y of the full x and w with the other 2 columns at zero.

Operators that average, normalise or compare along an axis are compared with themselves on the kept part instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch._ops import OpOverload
from torch.fx.node import map_aggregate

from graphprune.axes.rules import find_rule
from graphprune.axes.terms import Atom
from graphprune.capture.operators import find_operator, overloads_of
from graphprune.ground.errors import InputError, RuleError, first_line
from graphprune.laws.trial import FAILURES, LIMIT, Trial, halves
from graphprune.planning.masks import Masks
from graphprune.verifying.differences import relative_error

__all__ = ["RuleReport", "check_rule"]

_SEEDS = range(4)


@dataclass(frozen=True)
class RuleReport:
    """A rule that keeps the law. An axis is written as the dimensions it indexes: "x[1] weight[0] return[1]".

    Attributes:
        operator: the operator with its overload.
        free: axes from which units can be removed.
        pinned: axes from which none can, with the reasons.
        needless: pinned axes of which any part can be taken all the same.
        error: the largest difference found, relative to the largest value of a result.
    """

    operator: str
    free: tuple[str, ...]
    pinned: tuple[str, ...]
    needless: tuple[str, ...]
    error: float

    def __str__(self) -> str:
        lists = {"free": self.free, "pinned": self.pinned, "pinned needlessly": self.needless}
        lines = [f"  {title}: {', '.join(items)}" for title, items in lists.items() if items]
        return "\n".join([f"{self.operator} keeps the law (worst error {self.error:.1e})", *lines])


def check_rule(operator: Any, *args: Any, **kwargs: Any) -> RuleReport:
    """Tries the rule of ``operator`` on the real operator, in float64, removing random halves of its free axes.

    All axes lose a half at once. Where an axis has a fibre (see `graphprune.axes.groups.Group`), every position of
    the fibre then loses a half of its own. Both are tried several times.

    Args:
        operator: as for `graphprune.rule`.
        args: example arguments. Give tensors small and distinct sizes above 2, and values without zeros or
            repetitions, so that nothing is mistaken for something else.
        kwargs: those by name, likewise.

    Raises:
        InputError: the operator is unknown or does not run on these arguments.
        RuleError: there is no rule, it does not fit, or it is wrong; the message names the axis and the figure.
    """
    overload = _chosen(operator, args, kwargs)
    if find_rule(str(overload)) is None:
        raise RuleError(f"no rule for {overload}", "register a rule for it: graphprune.rule")
    trial = Trial.of(overload, args, kwargs)
    free = [atom for atom in trial.places if not atom.pins]
    worst = 0.0
    for seed in _SEEDS:
        for masks in (halves(free, seed), trial.rows(seed)):
            error, problem = trial.error(masks, seed)
            if not error <= LIMIT:
                raise _refusal(trial, masks, seed, problem)
            worst = max(worst, error)
    return RuleReport(
        operator=trial.operation.op,
        free=tuple(trial.places[atom] for atom in free),
        pinned=tuple(f"{place} ({_reasons(atom)})" for atom, place in trial.places.items() if atom.pins),
        needless=tuple(_needless(trial)),
        error=worst,
    )


def _reasons(atom: Atom) -> str:
    return "; ".join(dict.fromkeys(str(getattr(reason, "text", reason)) for reason in atom.pins))


def _chosen(operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> OpOverload:
    """The overload that takes these arguments."""
    found = find_operator(operator)
    problems = [f"{found} takes no tensor"]
    for overload in overloads_of(found):
        try:
            overload(*_copied(args), **_copied(dict(kwargs)))
        except Exception as error:  # whatever an operator raises
            problems.append(f"{overload} does not run: {first_line(error)}")
        else:
            return overload
    raise InputError(
        problems[min(1, len(problems) - 1)], "check the arguments' number, order, types and shapes"
    )


def _copied(arguments: Any) -> Any:
    return map_aggregate(arguments, lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf)


def _refusal(trial: Trial, masks: Masks, seed: int, problem: str) -> RuleError:
    """Blames the axis that breaks the law alone, or all of them."""
    guilty = list(masks.kept)
    for atom in masks.kept:
        error, alone = trial.error(Masks({atom: masks.kept[atom]}, masks.fibres), seed)
        if not error <= LIMIT:
            guilty, problem = [atom], alone
            break
    axes = " and of ".join(trial.places.get(atom, str(atom)) for atom in guilty)
    message = f"the rule for {trial.operation.op} is wrong: when half of axis {axes} is removed"
    if masks.fibres:
        return RuleError(
            f"{message}, other units in each row, {problem}", "line that axis up (Call.lined_up), or pin it"
        )
    return RuleError(
        f"{message}, {problem}",
        "couple it with the dimensions that must lose the same units, or pin it ('x*' in a signature)",
    )


# -- needless pins ------------------------------------------------------------------------------------------
def _needless(trial: Trial) -> list[str]:
    """Pinned axes, or all those of one size, of which any half gives that half of the result."""
    pinned = [atom for atom in trial.places if atom.pins]
    alone = [atom for atom in pinned if _restrictable(trial, [atom])]
    together = [[a for a in pinned if a.size == size] for size in dict.fromkeys(a.size for a in pinned)]
    joint = [some for some in together if not set(some) & set(alone) and _restrictable(trial, some)]
    return [" with ".join(trial.places[atom] for atom in some) for some in (*([a] for a in alone), *joint)]


def _restrictable(trial: Trial, some: list[Atom]) -> bool:
    return all(_is_part(trial, halves(some, seed, alike=True), seed) for seed in _SEEDS)


def _is_part(trial: Trial, masks: Masks, seed: int) -> bool:
    try:
        results = trial.part_and_whole(masks, seed)
    except FAILURES:
        return False
    half = next(iter(masks.kept.values()))
    return bool(results) and all(_is_half(part, whole, half) for part, whole in results)


def _is_half(part: Tensor, whole: Tensor, half: Tensor) -> bool:
    """Whether ``part`` is ``whole``, or its ``half`` along one dimension."""
    if part.dim() != whole.dim():
        return False
    dims = [dim for dim in range(whole.dim()) if part.shape[dim] != whole.shape[dim]]
    if len(dims) > 1 or any(whole.shape[dim] != len(half) for dim in dims):
        return False
    expected = whole.index_select(dims[0], half.nonzero().flatten()) if dims else whole
    return relative_error(expected, part) <= LIMIT

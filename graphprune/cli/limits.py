"""What is left alone: ``--protect``, ``--tie`` and their like, for commands that show what they do to a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from graphprune.asking.request import Request
from graphprune.axes.dependency import DependencyGraph
from graphprune.cli.look_request import LookRequest
from graphprune.face.opening import holding_tables
from graphprune.ground.errors import InputError
from graphprune.ground.options import share
from graphprune.planning import Limit, find_limits

__all__ = ["limits_of", "parse_ratios", "said_of_limits"]


def limits_of(graph: DependencyGraph, request: LookRequest) -> dict[str, Limit]:
    """The widths that each group may take; multiples that a runtime likes are left aside.

    Raises:
        InputError: an option is out of range, or names no layer.
    """
    asked = Request(
        ratio=0.5,  # a request needs a goal, and limits do not depend on it
        align=1,
        min_keep=request.min_keep,
        protect=tuple(request.protect),
        max_ratio=request.max_ratio,
        ratios=parse_ratios(request.layer_ratio),
        ties=tuple(request.tie),
        cut_tables=request.cut_tables,
    )
    return find_limits(graph, holding_tables(graph, asked).constraints)


def said_of_limits(limits: Mapping[str, Limit], names: Iterable[str]) -> Iterator[str]:
    """A line for each of these groups that is not free to take any width."""
    for name in names:
        limit = limits[name]
        tie = f", the same share as {limit.tie}" if limit.tie not in ("", name) else ""
        if limit.fixed is not None and limit.fixed != limit.size:
            yield f"Asked for: {name} keeps {limit.fixed} of {limit.size} units{tie}"
        elif limit.least == limit.size:
            yield f"Asked for: {name} keeps all of its {limit.size} units{tie}"
        elif limit.least > 1 or tie:
            yield f"Asked for: {name} keeps at least {limit.least} of {limit.size} units{tie}"


def parse_ratios(texts: Iterable[str]) -> dict[str, float]:
    """``--layer-ratio`` by pattern.

    Raises:
        InputError: one is no pattern with a share.
    """
    found = {}
    for text in texts:
        pattern, equals, number = text.rpartition("=")
        try:
            found[pattern] = share("layer_ratio", number)
        except InputError:
            equals = ""
        if not equals or not pattern:
            raise InputError(
                f"--layer-ratio {text!r} is not PATTERN=F", "write it as 'layer4*=0.5' or 'layer4*=50%'"
            )
    return found

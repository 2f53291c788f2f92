"""Where the result of a layer is added to something else: the residual streams of a network."""

from __future__ import annotations

from collections.abc import Collection

from torch import fx

from graphprune.capture.operators import family

__all__ = ["PASSING", "addition_after"]

PASSING = ("aten.dropout", "aten.alias", "aten.contiguous")  # the value itself, in eval mode
_ADDS = ("aten.add", "aten.add_")


def addition_after(node: fx.Node, passing: Collection[str] = PASSING) -> fx.Node | None:
    """The addition of two tensors that alone reads the result; None where something else reads it.

    Args:
        passing: families of operators that may stand between the two.
    """
    last = node
    while len(last.users) == 1:
        last = next(iter(last.users))
        if last.op != "call_function" or family(last) not in (*_ADDS, *passing):
            return None
        if family(last) in _ADDS:
            one, other = last.args[:2]
            plain = last.kwargs.get("alpha", 1) == 1 and isinstance(other, fx.Node) and one is not other
            return last if plain else None
    return None

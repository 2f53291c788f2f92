"""What a graph holds for: how Python decided on sizes, and sizes that are fixed. The graph checks it itself."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

from torch import fx

from graphprune.capture.dimensions import Dimension
from graphprune.capture.freeing import Sizes
from graphprune.capture.remembered import Computed, Decision, Leaf, leaves
from graphprune.ground.arguments import require

__all__ = ["DECIDES", "require_decisions", "require_dimensions", "require_that"]

Name = Callable[[fx.Node, int], str]

_OPPOSITE = {
    operator.eq: operator.ne,
    operator.ne: operator.eq,
    operator.lt: operator.ge,
    operator.ge: operator.lt,
    operator.gt: operator.le,
    operator.le: operator.gt,
}
_SIGNS = {
    operator.eq: "==",
    operator.ne: "!=",
    operator.lt: "<",
    operator.ge: ">=",
    operator.gt: ">",
    operator.le: "<=",
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.floordiv: "//",
    operator.truediv: "/",
    operator.mod: "%",
    operator.pow: "**",
}


DECIDES = "the model decides on its sizes"


def require_decisions(decisions: Iterable[Decision], sizes: Sizes, name: Name) -> None:
    """Puts into the graph that each decision falls as it did when the model was traced.

    Args:
        name: what the size of a tensor in a dimension is called in a message.
    """
    for decision in decisions:
        known = all(leaf.ticket in sizes.tensors for leaf in leaves(decision.compared))
        compared = _as_it_fell(decision)
        if known and not _always(compared):
            shown = _text(compared, lambda leaf: name(sizes.tensors[leaf.ticket], leaf.dim))
            where = f" ({decision.line})" if decision.line else ""
            text = f"{DECIDES}, and was captured where {shown}{where}"
            require_that(compared, text, sizes)


def require_dimensions(dimensions: Iterable[Dimension], inputs: list[fx.Node], sizes: Sizes) -> None:
    """Puts into the graph that fixed sizes are those of the example, and others the multiples that they must be."""
    for at in dimensions:
        leaf = sizes.leaf(inputs[at.place], at.dim)
        because = f": {at.reason}" if at.reason else ""
        if not at.name:
            require_that(
                Computed(operator.eq, (leaf, at.size)),
                f"{at} must be {at.size}, as at capture{because}",
                sizes,
            )
        elif at.multiple > 1:
            rest = Computed(operator.mod, (leaf, at.multiple))
            text = f"{at} must be a multiple of {at.multiple}{because}"
            require_that(Computed(operator.eq, (rest, 0)), text, sizes)


def require_that(condition: Computed, text: str, sizes: Sizes) -> None:
    """Puts a condition into the graph, with what is said where it does not hold."""
    node = sizes.node(condition)
    if isinstance(node, fx.Node):
        sizes.insert(require, (node, text), [node]).meta["val"] = None


def _as_it_fell(decision: Decision) -> Computed:
    compared = decision.compared
    return compared if decision.outcome else Computed(_OPPOSITE[compared.function], compared.args)


def _always(compared: Computed) -> bool:
    """Whether a condition on one size holds for every size from 1 on."""
    size, other = compared.args
    if not isinstance(size, Leaf) or not isinstance(other, int | float):
        return False
    function: Callable[[Any, Any], bool] = compared.function
    if function is operator.ne:
        return other < 1 or other != int(other)
    return function(1, other) and function(float("inf"), other)


def _text(expression: Any, name: Callable[[Leaf], str]) -> str:
    """An expression as the user would write it: "x[2] % 7 == 0"."""
    if isinstance(expression, Leaf):
        return name(expression)
    if not isinstance(expression, Computed):
        return str(expression)
    shown = [_text(argument, name) for argument in expression.args]
    sign = _SIGNS.get(expression.function)
    if sign is None or len(shown) != 2:
        return f"{expression.function.__name__}({', '.join(shown)})"
    if expression.function not in _OPPOSITE:
        pairs = zip(shown, expression.args, strict=True)
        shown = [f"({text})" if isinstance(part, Computed) else text for text, part in pairs]
    return f" {sign} ".join(shown)

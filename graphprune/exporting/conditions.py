"""Conditions on sizes in an ONNX file, which has no exceptions.

Where Python in the model has decided on sizes, or where they must be multiples, a program refuses other sizes. In a file
each output is then taken out of a list of one by the number 0, or 1 where a condition does not hold, which a
runtime refuses. Sizes that are fixed need none of this: they are in the file's signature.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from graphprune.exporting.own_call import Call, Row, numbers
from graphprune.ground.arguments import require

__all__ = ["CONDITIONS", "under_conditions"]


def held(value: Any, *conditions: Any) -> Any:
    """``value``, in a graph; what stands for it in a file is refused where a condition does not hold."""
    return value


def under_conditions(
    graph: fx.Graph, results: Mapping[str, fx.Node]
) -> tuple[fx.Graph, Mapping[str, fx.Node]]:
    """A graph whose outputs depend on its conditions, and its values by their names.

    Args:
        results: names of values, the outputs among them → nodes of ``graph``.
    """
    guards = [guard.args[0] for guard in graph.find_nodes(op="call_function", target=require)]
    conditions = [node for node in guards if isinstance(node, fx.Node) and not _in_signature(node)]
    if not conditions:
        return graph, results
    changed, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in graph.nodes:
        if node.op == "output":
            for result in node.all_input_nodes:
                given = (result, *conditions)
                copy = changed.call_function(held, tuple(copies[source] for source in given))
                copy.meta = dict(result.meta)
                copies[result] = copy
        copies[node] = changed.node_copy(node, copies.__getitem__)
    return changed, {name: copies[node] for name, node in results.items()}


def _in_signature(condition: fx.Node) -> bool:
    """Whether it says what size an input has."""
    size = condition.args[0] if condition.target is operator.eq else None
    if not isinstance(size, fx.Node) or size.target is not torch.ops.aten.sym_size.int:
        return False
    source = size.args[0]
    return isinstance(source, fx.Node) and source.op == "placeholder" and isinstance(condition.args[1], int)


def _compared(name: str, negated: bool = False) -> Row:
    def row(call: Call, one: Any, other: Any) -> Any:
        found = getattr(call.op, name)(*numbers(call, one, other))
        return call.op.Not(found) if negated else found

    return row


def _held(call: Call, value: Any, *conditions: Any) -> Any:
    left = [condition for condition in conditions if not isinstance(condition, bool)]
    if not left:
        return call.op.Identity(value)
    holds = left[0]
    for condition in left[1:]:
        holds = call.op.And(holds, condition)
    zero, one = (call.op.Constant(value_int=number) for number in (0, 1))
    listed = call.op.Unsqueeze(value, call.op.Constant(value_ints=[0]))
    return call.op.Gather(listed, call.op.Where(holds, zero, one), axis=0)


CONDITIONS: Mapping[Any, Row] = {
    held: _held,
    operator.eq: _compared("Equal"),
    operator.ne: _compared("Equal", negated=True),
    operator.lt: _compared("Less"),
    operator.le: _compared("LessOrEqual"),
    operator.gt: _compared("Greater"),
    operator.ge: _compared("GreaterOrEqual"),
}

"""Conditions on sizes in an ONNX file, which has no exceptions.

Where Python in the model has decided on sizes, or where they must be multiples, a program refuses other sizes. In a file
each output is then taken out of a list of one by the number 0, or 1 where a condition does not hold, which a runtime
refuses. Sizes that are fixed need none of this: they are in the file's signature.
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


def under_conditions(graph: fx.Graph, results: Mapping[str, fx.Node]) -> dict[str, fx.Node]:
    """Lets every result of ``graph`` depend on its conditions, in place; returns the new ones by their names."""
    guards = graph.find_nodes(op="call_function", target=require)
    conditions = [
        guard.args[0]
        for guard in guards
        if isinstance(guard.args[0], fx.Node) and not _in_signature(guard.args[0])
    ]
    if not conditions:
        return dict(results)
    output, made = graph.output_node(), {}
    for node in dict.fromkeys(results.values()):
        with graph.inserting_before(output):
            made[node] = graph.call_function(held, (node, *conditions))
        made[node].meta = dict(node.meta)
        output.replace_input_with(node, made[node])
    return {name: made[node] for name, node in results.items()}


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

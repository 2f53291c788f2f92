"""Numbers that the cut file would compute of widths that are others now: constants stand in their place.

``x.view(b, t, heads, x.shape[2] // heads)`` is a chain of nodes from Shape to Concat. Where the width of ``x`` is cut
otherwise than that of the heads, the last number is no longer what it computes. The root of a width, by which scores
are divided, must stay what it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphprune.importing.interpreter import Graph, Turn
from graphprune.importing.operators.counting import COUNTING
from graphprune.importing.operators.table import OPERATORS
from graphprune.importing.step import Step
from graphprune.importing.values import Numbers, as_numbers
from graphprune.slicing.tensors import add_constant

__all__ = ["Computed"]

_SAME = ("Cast", "Identity")  # operators that change no number of a shape


class Computed:
    """The computed numbers of a cut file while it runs.

    Args:
        model: the file (onnx.ModelProto), which is changed.
        nodes: its nodes by first output, see `nodes_of`.
        before: the numbers that the original file computes, see `Match`.
        steps: their modules.
        copies: added nodes → the nodes that they copy, by their outputs.
        values: what the cut file has computed so far.
    """

    def __init__(
        self,
        model: Any,
        nodes: Mapping[str, Any],
        before: Mapping[str, Numbers],
        steps: Mapping[str, Step],
        copies: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> None:
        self._model, self._nodes, self._steps, self._values = model, nodes, steps, values
        self._before = {**before, **{name: before[of] for name, of in copies.items() if of in before}}
        self._added: dict[Any, str] = {}
        self._readers: dict[str, int] = {}
        for node in nodes.values():
            for name in node.input:
                self._readers[name] = self._readers.get(name, 0) + 1

    def before(self, scopes: Sequence[str], name: str) -> Numbers | None:
        """What the original file computes under that name of a graph, or of one around it."""
        return next((self._before[f"{at}{name}"] for at in scopes if f"{at}{name}" in self._before), None)

    def keep(self, graph: Graph, turn: Turn, inputs: list[Any]) -> None:
        """Gives the node what the original computes, where it reads numbers as data and they are others now."""
        operator = turn.step.node.operator
        if operator not in OPERATORS or (
            operator in COUNTING and all(item is None or isinstance(item, Numbers) for item in inputs)
        ):
            return
        for place, item in enumerate(inputs):
            if not isinstance(item, Numbers) or place in OPERATORS[operator].counts:
                continue
            was = self.before(graph.constants.scopes, turn.given[place])
            if was is not None and was.array.tolist() != item.array.tolist():
                inputs[place] = was
                node = self._nodes[f"{graph.prefix}{turn.outputs[0]}"]
                node.input[place] = self._constant(was)

    def put(self, prefix: str, name: str, index: int, number: int) -> bool:
        """Puts a number in the place of one that is computed; gives whether it could.

        Args:
            name: of the shape, in the graph of that prefix.
            index: of the number in the shape.
        """
        node, shape = self._nodes.get(f"{prefix}{name}"), self._values.get(f"{prefix}{name}")
        if node is None or not isinstance(shape, Numbers) or self._readers.get(name, 0) > 1:
            return False
        if node.op_type in _SAME:
            done = self.put(prefix, node.input[0], index, number)
        else:
            done = node.op_type == "Concat" and self._put_in(prefix, node, index, number)
        if done:
            shape.array.reshape(-1)[index] = number
        return done

    def _put_in(self, prefix: str, node: Any, index: int, number: int) -> bool:
        step, start = self._steps[f"{prefix}{node.output[0]}"], 0
        for place, name in enumerate(node.input):
            held = step.held.get(place)
            part = held.numbers if held else self._values.get(f"{prefix}{name}")
            if not isinstance(part, Numbers):
                return False
            if start == index and part.array.size == 1:
                node.input[place] = self._constant(as_numbers([number], part.dtype))
                return True
            start += part.array.size
        return False

    def _constant(self, numbers: Numbers) -> str:
        """The name of a constant of the whole file."""
        tensor = numbers.tensor()
        key = str(tensor.dtype), str(tensor.tolist())
        if key not in self._added:
            self._added[key] = add_constant(self._model, f"kept/{len(self._added)}", tensor)
        return self._added[key]

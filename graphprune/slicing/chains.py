"""Chains of nodes that compute a number of a shape, from Shape to Concat: another number is put where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from graphprune.importing.nested import graphs
from graphprune.importing.step import Step
from graphprune.importing.values import Numbers, as_numbers
from graphprune.slicing.tensors import add_constant

__all__ = ["Chains", "Computed", "changed"]

_SAME = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze")  # operators that change no number of a shape


def changed(numbers: Numbers, index: int, number: int) -> Numbers:
    """The numbers with another one in the place of one."""
    array = numbers.array.copy()
    array.reshape(-1)[index] = number
    return replace(numbers, array=array, stored=None)


@dataclass
class Computed:
    """What is known of the nodes of a cut file while it runs, by their first outputs, see `nodes_of`.

    Attributes:
        nodes: onnx.NodeProto.
        steps: their modules.
        before: the numbers that the original file computes, see `Match`.
        values: what the cut file has computed so far.
    """

    nodes: dict[str, Any]
    steps: dict[str, Step]
    before: dict[str, Numbers]
    values: dict[str, Any]
    readers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in self.nodes.values():
            self.read(node)

    def read(self, node: Any) -> None:
        """Counts what a node reads."""
        for name in node.input:
            self.readers[name] = self.readers.get(name, 0) + 1

    def numbers(self, name: str, node: Any, place: int) -> Numbers | None:
        """What a node of that unique name reads at a place: of the file, or computed."""
        held = self.steps[name].held.get(place)
        found = held.numbers if held else self.values.get(name[: -len(node.output[0])] + node.input[place])
        return found if isinstance(found, Numbers) else None


class Chains:
    """Puts numbers in the place of computed ones.

    A factor of a number is changed where there is one in the file, so that what else it is computed of still counts:
    in ``n * 4`` the 4, if the heads of ``n`` sequences are one dimension. What other nodes read too is copied.

    Args:
        model: the file (onnx.ModelProto), to which constants are added.
    """

    def __init__(self, model: Any, computed: Computed) -> None:
        self._model, self._at = model, computed
        self._constants: dict[Any, str] = {}
        self._copies: dict[str, list[Any]] = {}  # unique name of a node → the nodes to put before it

    def put(self, prefix: str, node: Any, place: int, index: int, number: int) -> bool:
        """Gives whether the number could be put there.

        Args:
            node: which reads the number, at its input ``place``, in the graph of that prefix.
            index: of the number in what the node reads.
        """
        found = self._put(prefix, node, place, index, number)
        if found is None:
            return False
        self._copies.setdefault(f"{prefix}{node.output[0]}", []).extend(found)
        return True

    def _put(self, prefix: str, node: Any, place: int, index: int, number: int) -> list[Any] | None:
        """The copies that were made for it, in order; None if the number cannot be put there."""
        name = node.input[place]
        maker, value = self._at.nodes.get(f"{prefix}{name}"), self._at.values.get(f"{prefix}{name}")
        if maker is None or not isinstance(value, Numbers):
            return None
        own = maker if self._at.readers[name] == 1 else self._copied(prefix, maker)
        copies = self._put_within(prefix, own, value, index, number)
        if copies is not None:
            node.input[place] = own.output[0]
            return copies if own is maker else [*copies, own]
        if value.array.size > 1:
            return [self._corrected(prefix, node, place, value, index, number)]
        node.input[place] = self.constant(changed(value, 0, number))
        return []

    def _corrected(self, prefix: str, node: Any, place: int, value: Numbers, index: int, number: int) -> Any:
        """A node that adds what is missing to one number of a shape, such as that of another tensor."""
        from onnx import helper

        difference = [0] * value.array.size
        difference[index] = number - int(value.array.reshape(-1)[index])
        missing = self.constant(as_numbers(difference, value.dtype))
        name = f"{node.input[place]}/own{len(self._at.nodes)}"
        made = helper.make_node("Add", [node.input[place], missing], [name], name=name)
        self._at.nodes[f"{prefix}{name}"] = made
        self._at.values[f"{prefix}{name}"] = changed(value, index, number)
        self._at.readers[name] = 1
        node.input[place] = name
        return made

    def _put_within(
        self, prefix: str, node: Any, value: Numbers, index: int, number: int
    ) -> list[Any] | None:
        if node.op_type == "Mul" and self._put_factor(prefix, node, number):
            return []
        if node.op_type in _SAME:
            return self._put(prefix, node, 0, index, number)
        if node.op_type == "Concat":
            for place in range(len(node.input)):
                part = self._at.numbers(f"{prefix}{node.output[0]}", node, place)
                if part is None:
                    return None
                if index < part.array.size:
                    return self._put(prefix, node, place, index, number)
                index -= part.array.size
        return None

    def _put_factor(self, prefix: str, node: Any, number: int) -> bool:
        """Changes the factor of a product that stands in the file, if the cut did not change the other one."""
        name = f"{prefix}{node.output[0]}"
        places = [place for place in (0, 1) if place in self._at.steps[name].held]
        if len(places) != 1:
            return False
        factor = self._at.numbers(name, node, places[0])
        now, was = (
            self._at.numbers(name, node, 1 - places[0]),
            self._at.before.get(f"{prefix}{node.input[1 - places[0]]}"),
        )
        if factor is None or now is None or was is None or now.array.size != 1 or factor.array.size != 1:
            return False
        other = int(now.array.item())
        if was.array.tolist() != now.array.tolist() or not other or number % other:
            return False
        node.input[places[0]] = self.constant(changed(factor, 0, number // other))
        return True

    def _copied(self, prefix: str, node: Any) -> Any:
        """A copy under a name of its own."""
        made = type(node)()
        made.CopyFrom(node)
        old = node.output[0]
        new = made.output[0] = f"{old}/own{len(self._at.nodes)}"
        made.name = f"{node.name}/own{len(self._at.nodes)}" if node.name else ""
        for table in (self._at.steps, self._at.before, self._at.values):
            if f"{prefix}{old}" in table:
                table[f"{prefix}{new}"] = table[f"{prefix}{old}"]  # type: ignore[assignment]
        self._at.nodes[f"{prefix}{new}"] = made
        self._at.read(made)
        return made

    def constant(self, numbers: Numbers) -> str:
        """The name of a constant of the whole file."""
        tensor = numbers.tensor()
        key = str(tensor.dtype), str(tensor.tolist())
        if key not in self._constants:
            self._constants[key] = add_constant(self._model, f"kept/{len(self._constants)}", tensor)
        return self._constants[key]

    def added(self, node: Any, place: int, numbers: Sequence[int], like: Any) -> Numbers:
        """These numbers as a new constant that the node reads at its input ``place``."""
        made = as_numbers(list(numbers), like)
        node.input.extend([""] * (place + 1 - len(node.input)))
        node.input[place] = self.constant(made)
        return made

    def write_copies(self, model: Any) -> None:
        """Puts the copies into a file of the same nodes."""
        for prefix, graph in reversed(list(graphs(model.graph))):  # inner ones first, since nodes are copied
            nodes = []
            for node in graph.node:
                nodes += [*self._copies.get(f"{prefix}{node.output[0]}", ()), node]
            del graph.node[:]
            graph.node.extend(nodes)

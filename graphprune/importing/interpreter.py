"""An ONNX graph as a module: one submodule for each node, run in the order of the file."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from torch import nn

from graphprune.ground.errors import CaptureError
from graphprune.importing.constants import Constants
from graphprune.importing.control import BODIES, UNSEEN, Body
from graphprune.importing.left import NOTHING, Left, left_nodes
from graphprune.importing.naming import attribute_names, node_paths, parameter_names
from graphprune.importing.nested import inner_prefix, read_in
from graphprune.importing.node import Node, read_node
from graphprune.importing.operators.foreign import spelled
from graphprune.importing.operators.table import OPERATORS
from graphprune.importing.signature import Input, read_signature
from graphprune.importing.step import Step
from graphprune.importing.values import as_tensor

__all__ = ["Graph", "OnnxModule", "Turn", "Watch", "module_of"]


@dataclass(frozen=True)
class Turn:
    """A node's module in its turn: what it is given, and the values that nobody reads afterwards."""

    step: Step
    given: tuple[str, ...]
    outputs: tuple[str, ...]
    last: tuple[str, ...]


class Watch(Protocol):
    """What is called before and after every node of the graphs that it is set in."""

    def before(self, graph: Graph, turn: Turn, inputs: list[Any]) -> None:
        """``inputs`` are those of the node, without its constants."""

    def after(self, graph: Graph, turn: Turn, values: Mapping[str, Any]) -> None:
        """``values`` are those of the graph so far, by name."""


class Graph(nn.Module):
    """A graph of a file, which a node's body is too.

    Args:
        proto: an onnx.GraphProto.
        opsets: domain → version.
        outer: the constants of the graph around.
        prefix: of the names that are unique in the whole file.
        left: nodes that are not run; what they read of the others is given as outputs are.
    """

    def __init__(
        self,
        proto: Any,
        opsets: Mapping[str, int],
        outer: Constants | None = None,
        prefix: str = "",
        left: Left = NOTHING,
    ) -> None:
        super().__init__()
        self.constants, self.prefix = Constants(proto, outer, prefix), prefix
        held = self.constants.names
        self.inputs = tuple(item.name for item in proto.input if item.name not in held)
        self.outputs = _outputs(proto, left, held)
        self.turns: list[Turn] = []
        self.watch: Watch | None = None
        nodes = [
            node for node in proto.node if not set(node.output) <= held and node.output[0] not in left.nodes
        ]
        last = _last_reads(nodes, {*self.outputs, *held})
        for node, path, gone in zip(nodes, node_paths(nodes), last, strict=True):
            step = self._step(read_node(node, path, opsets), opsets)
            step.spell = partial(spelled, node, opsets)
            self._place(path, step)
            given = tuple("" if place in step.held else name for place, name in enumerate(node.input))
            self.turns.append(Turn(step, given, tuple(node.output), gone))

    def _step(self, node: Node, opsets: Mapping[str, int]) -> Step:
        known = self.constants
        places = [place for place, name in enumerate(node.inputs) if name and known.array(name) is not None]
        counts = OPERATORS[node.operator].counts if node.operator in OPERATORS else ()
        names = attribute_names(node.operator, node.opset, places)
        held = {place: known.held(node.inputs[place], names[place], place in counts) for place in places}
        tensors = {place: known.tensor(node.inputs[place], names[place], node) for place in places}
        bodies = {
            name: Graph(node[name], opsets, known, inner_prefix(self.prefix, node.outputs[0], name))
            for name in BODIES.get(node.operator, ())
        }
        return Step(node, held, tensors, bodies)

    def _place(self, path: str, step: Step) -> None:
        module: nn.Module = self
        *outer, name = path.split(".")
        for part in outer:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module._modules[part]  # type: ignore[assignment]
        module.add_module(name, step)

    @property
    def steps(self) -> list[Step]:
        """The nodes' modules in order."""
        return [turn.step for turn in self.turns]

    def bound(self, scope: Mapping[str, Any]) -> Body:
        """The graph as a function of its inputs, with the values of the graph around."""
        return lambda given: self.run({**scope, **dict(zip(self.inputs, given, strict=True))})

    def values(self, given: dict[str, Any], every: bool = True) -> dict[str, Any]:
        """Values by name, added to those that are given: of every node, or those that the outputs are made of."""
        for turn in self.turns:
            inputs = [given.get(name) if name else None for name in turn.given]
            if self.watch:
                self.watch.before(self, turn, inputs)
            results = turn.step(inputs, given)
            given.update(zip(turn.outputs, results, strict=False))
            if self.watch:
                self.watch.after(self, turn, given)
            for name in () if every else turn.last:
                given.pop(name, None)
        return given

    @contextmanager
    def watched(self, watch: Watch) -> Iterator[None]:
        """While it lasts, ``watch`` is called for the nodes of this graph, and of those within it."""
        graphs = [item for item in self.modules() if isinstance(item, Graph)]
        for graph in graphs:
            graph.watch = watch
        try:
            yield
        finally:
            for graph in graphs:
                graph.watch = None

    def run(self, given: dict[str, Any]) -> list[Any]:
        """The outputs, of values by name."""
        values = self.values(given, every=False)
        return [values[name] if name in values else self._constant(name) for name in self.outputs]

    def _constant(self, name: str) -> Any:
        """An output that is a constant."""
        from graphprune.importing.values import tensor_from

        array = self.constants.array(name)
        if array is None:
            raise CaptureError(f"nothing computes the output {name}", "check the file with onnx.checker")
        return tensor_from(array)


class OnnxModule(Graph):
    """The graph of a whole file, called with its inputs in order; outputs come by their names.

    Attributes:
        source: the onnx.ModelProto.
        signature: its inputs.
        left: nodes that are not run.
        refused: first outputs of nodes that were found not to run.
        tidying: what was asked for when the file was read, see `graphprune.importing.reading`.
        tidied: what was made of the file then, in words.
        given: the file as it was; None if nothing was.
        untrained: why nobody needs its gradients.
    """

    untrained = "an ONNX file is not trained"

    source: Any
    left: Left
    refused: Collection[str]
    tidying: Any = None
    tidied: tuple[str, ...] = ()
    given: Any = None
    signature: tuple[Input, ...]

    def forward(self, *args: Any) -> dict[str, Any]:
        unseen: list[Any] = []
        results = self.run({**dict(zip(self.inputs, args, strict=True)), UNSEEN: unseen})
        found = {name: as_tensor(value) for name, value in zip(self.outputs, results, strict=True)}
        return found | {f"{UNSEEN}{number}": value for number, value in enumerate(unseen)}


def module_of(model: Any, refused: Collection[str] = ()) -> OnnxModule:
    """The module of an onnx.ModelProto, whose external data are loaded. Its ``forward`` calls inputs as the file does.

    Args:
        refused: first outputs of nodes that are not to be run, see `graphprune.importing.left`.

    Raises:
        CaptureError: an operator is not known, and no weights are left without it; the message names the nodes.
    """
    opsets = {"" if item.domain == "ai.onnx" else item.domain: item.version for item in model.opset_import}
    left = left_nodes(model.graph, refused)
    signature = read_signature(model)
    names = parameter_names(item.name for item in signature)

    def forward(self: OnnxModule, *args: Any) -> dict[str, Any]:
        return OnnxModule.forward(self, *args)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    arguments = [inspect.Parameter(name, kind) for name in ("self", *names.values())]
    forward.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]
    named = type("OnnxModule", (OnnxModule,), {"forward": forward, "__module__": __name__})
    made: OnnxModule = named(model.graph, opsets, left=left).eval()
    made.source, made.signature, made.left, made.refused = model, signature, left, refused
    _check_rest(made, left)
    return made


def _check_rest(module: OnnxModule, left: Left) -> None:
    """Raises CaptureError where no weights are among the nodes that are run, since an operator is not known."""
    if left.unknown and not any(True for _ in module.parameters()):
        named = ", ".join(f"{operator} (node {name})" for operator, name in left.unknown.items())
        raise CaptureError(
            f"operators that graphprune does not run: {named}",
            "shrink the PyTorch model that the file was exported from, if you have it",
        )


def _outputs(graph: Any, left: Left, held: Collection[str]) -> tuple[str, ...]:
    """The outputs that are computed, and what nodes read that are left."""
    gone = {name for node in graph.node if node.output[0] in left.nodes for name in node.output}
    given = {*held, *(item.name for item in graph.input)}
    outputs = [item.name for item in graph.output if item.name not in gone]
    return tuple(dict.fromkeys([*outputs, *sorted(left.reads - given)]))


def _last_reads(nodes: Sequence[Any], kept: set[str]) -> list[tuple[str, ...]]:
    """For each node the values that no later node reads; those that graphs of nodes read are kept."""
    inner = {
        name for node in nodes for item in node.attribute if item.HasField("g") for name in read_in(item.g)
    }
    seen = {*kept, *inner}
    last = []
    for node in reversed(nodes):
        gone = {name for name in (*node.input, *node.output) if name} - seen
        seen |= gone
        last.append(tuple(sorted(gone)))
    return last[::-1]

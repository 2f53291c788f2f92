"""Which values of a captured program are those of the file's nodes: both run on the same random numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import functional_call

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.terms import Term, atoms
from graphprune.capture.execution import Execution
from graphprune.capture.program import Program
from graphprune.importing.interpreter import Graph, OnnxModule, Turn
from graphprune.importing.values import Numbers

__all__ = ["Match", "Terms", "match_values", "randomised", "run_program"]

Terms = tuple[Term, ...]


class Match(dict[str, fx.Node]):
    """Value of the file → node of the program that gives the same; values without any are missing.

    Values of a node's own graph are called as in `places`.

    Attributes:
        numbers: sizes and the like that the file computes of the example, by the names of their values.
    """

    def __init__(self) -> None:
        super().__init__()
        self.numbers: dict[str, Numbers] = {}

    def terms(self, graph: DependencyGraph, name: str) -> Terms | None:
        """The axes of a value's dimensions; None where they are not known."""
        node = self.get(name)
        return None if node is None else terms_of(graph, node)


def terms_of(graph: DependencyGraph, node: fx.Node) -> Terms | None:
    """The axes of a node's dimensions; None where they are not known."""
    value = graph.program.values.get(node.name)
    return None if value is None else graph.analysis.terms.get(value.name)


def match_values(graph: DependencyGraph, module: OnnxModule, seed: int = 0) -> Match:
    """The values of ``module``'s graph among those of ``graph``, which was captured from it.

    Two tensors are the same where shape and every number are: on random tensors that is no chance, but for those that
    a softmax or a clamp leaves few choices. So of several nodes that give the same, that of the value's own layer is
    taken. Where no layer says which, any is taken if the same can be removed from all, and else none.
    """
    layers = {operation.name: operation.layer for operation in graph.program.operations}
    tensors = randomised(graph.program, seed)
    inputs = graph.program.example[0]
    with torch.no_grad():
        by_content: dict[Any, list[fx.Node]] = {}
        for node, value in run_program(graph.program, tensors, inputs):
            if isinstance(value, Tensor):
                by_content.setdefault(_content(value), []).append(node)
        values = _Seen(zip(module.inputs, inputs, strict=True))
        with module.watched(values):
            functional_call(module, dict(tensors), tuple(inputs))
    match = Match()
    match.numbers = {name: value for name, value in values.items() if isinstance(value, Numbers)}
    for name, value in values.items():
        found = by_content.get(_content(value), []) if isinstance(value, Tensor) else []
        own = [node for node in found if layers.get(node.name) == values.layers.get(name)] or found
        if own and (own is not found or len({_removable(graph, node) for node in found}) == 1):
            match[name] = own[0]
    return match


def _removable(graph: DependencyGraph, node: fx.Node) -> Any:
    """The axes of a node's dimensions of which something may be removed; None for the others."""
    units = {group.atom for group in graph.groups}
    terms = terms_of(graph, node)
    return terms and tuple(term if units.intersection(atoms(term)) else None for term in terms)


def run_program(program: Program, tensors: Mapping[str, Tensor], inputs: Any) -> Any:
    """Every node of a program with its value."""
    copies = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    return Execution(program.graph, copies, list(inputs))


def randomised(program: Program, seed: int) -> dict[str, Tensor]:
    """Tensors for a program: random where they are parameters, as they are elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: _drawn(item.tensor.detach(), generator) if item.kind == "parameter" else item.tensor.detach()
        for name, item in program.stored.items()
    }


def _drawn(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers as widely spread. They are positive where all are, since a root may be drawn of them."""
    values = tensor.double()
    spread = float(values.std()) if tensor.numel() > 1 else 1.0
    drawn = torch.randn(tensor.shape, generator=generator) * (spread or 1.0)
    if not tensor.is_floating_point():
        limits = torch.iinfo(tensor.dtype)
        return (drawn + values.mean()).clamp(limits.min, limits.max).to(tensor.dtype)
    return (drawn.abs() if bool((tensor > 0).all()) else drawn).to(tensor.dtype)


class _Seen(dict[str, Any]):
    """Collects every value of a file's graphs; of one that is computed several times, the first.

    Attributes:
        layers: value → the path of the node that computes it.
    """

    def __init__(self, given: Iterable[tuple[str, Any]]) -> None:
        super().__init__(given)
        self.layers: dict[str, str] = {}

    def before(self, graph: Graph, turn: Turn, inputs: list[Any]) -> None:
        """Nothing."""

    def after(self, graph: Graph, turn: Turn, values: Mapping[str, Any]) -> None:
        """Takes what the node gave."""
        for name in turn.outputs:
            self.setdefault(f"{graph.prefix}{name}", values.get(name))
            self.layers[f"{graph.prefix}{name}"] = turn.step.node.path


def _content(value: Tensor) -> Any:
    numbers = value.detach().reshape(-1).contiguous().view(torch.uint8).numpy()
    return tuple(value.shape), value.dtype, hash(numbers.tobytes())

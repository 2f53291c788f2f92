"""Which values of a captured program are those of the file's nodes: both run on the same random numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import functional_call

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.terms import Term
from graphprune.capture.execution import Execution
from graphprune.capture.program import Program
from graphprune.importing.interpreter import OnnxModule

__all__ = ["Match", "match_values", "randomised", "run_program"]

Terms = tuple[Term, ...]


class Match(dict[str, fx.Node]):
    """Value of the file → node of the program that gives the same; values without any are missing."""

    def terms(self, graph: DependencyGraph, name: str) -> Terms | None:
        """The axes of a value's dimensions; None where they are not known."""
        node = self.get(name)
        if node is None or node.name not in graph.program.values:
            return None
        return graph.analysis.terms.get(graph.program.values[node.name].name)


def match_values(graph: DependencyGraph, module: OnnxModule, seed: int = 0) -> Match:
    """The values of ``module``'s graph among those of ``graph``, which was captured from it.

    Two tensors are the same where shape and every number are: on random tensors that is no chance. Several nodes that
    give the same are told apart by the layer that they are of.
    """
    tensors = randomised(graph.program, seed)
    inputs = graph.program.example[0]
    with torch.no_grad():
        by_content: dict[Any, list[fx.Node]] = {}
        for node, value in run_program(graph.program, tensors, inputs):
            if isinstance(value, Tensor):
                by_content.setdefault(_content(value), []).append(node)
        given = dict(zip(module.inputs, inputs, strict=True))
        values = functional_call(
            _Every(module), {f"inner.{name}": item for name, item in tensors.items()}, (given,)
        )
    return Match(
        {
            name: found[0]
            for name, value in values.items()
            if isinstance(value, Tensor) and (found := by_content.get(_content(value)))
        }
    )


def run_program(program: Program, tensors: Mapping[str, Tensor], inputs: Any) -> Any:
    """Every node of a program with its value."""
    copies = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    return Execution(program.graph, copies, list(inputs))


def randomised(program: Program, seed: int) -> dict[str, Tensor]:
    """Tensors for a program: random where they are parameters, as they are elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, item in program.stored.items():
        tensor = item.tensor.detach()
        if item.kind == "parameter":
            spread = float(tensor.double().std()) if tensor.numel() > 1 else 1.0
            tensor = (torch.randn(tensor.shape, generator=generator) * (spread or 1.0)).to(tensor.dtype)
        found[name] = tensor
    return found


class _Every(torch.nn.Module):
    """Gives every value of a file's graph."""

    def __init__(self, inner: OnnxModule) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, given: dict[str, Any]) -> dict[str, Any]:
        return self.inner.values(dict(given))


def _content(value: Tensor) -> Any:
    numbers = value.detach().reshape(-1).contiguous().view(torch.uint8).numpy()
    return tuple(value.shape), value.dtype, hash(numbers.tobytes())

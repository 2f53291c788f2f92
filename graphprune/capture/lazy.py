"""Tensors that are made when they are read, and models whose tensors have no values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphprune.capture.inputs import registered_tensors

__all__ = ["Lazy", "has_values", "read_late", "standing_in"]


class Lazy(Mapping[str, Tensor]):
    """Tensors by name; ``make`` gives the tensor of a name each time it is read, and nothing is kept."""

    def __init__(self, names: Iterable[str], make: Callable[[str], Tensor]) -> None:
        self.names = dict.fromkeys(names)
        self.make = make

    def __getitem__(self, name: str) -> Tensor:
        return self.make(name)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def has_values(model: nn.Module) -> bool:
    """Whether no tensor of the model is on the meta device."""
    return not any(tensor.is_meta for tensor in registered_tensors(model).values())


@contextmanager
def standing_in(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Tensors without values are on ``device`` meanwhile, as if they had some: each is one number, laid out as many.

    Where inputs are elsewhere than tensors, forward would move one to the other, and a program would name the meta
    device.
    """
    tables: list[dict[str, Any]] = []
    for module in model.modules():
        tables += [module._parameters, module._buffers]
    places = [(table, name, item) for table in tables for name, item in table.items() if item is not None]
    empty = [(table, name, item) for table, name, item in places if item.is_meta]
    made = {id(item): _like(item, device) for _, _, item in empty}  # ties stay ties
    try:
        for table, name, item in empty:
            table[name] = made[id(item)]
        yield
    finally:
        for table, name, item in empty:
            table[name] = item


def _like(item: Tensor, device: torch.device) -> Tensor:
    tensor = torch.zeros((), dtype=item.dtype, device=device).expand(item.shape)
    return nn.Parameter(tensor, item.requires_grad) if isinstance(item, nn.Parameter) else tensor


def read_late(graph: fx.Graph) -> fx.Graph:
    """A copy in which each stored tensor is read right before it is first used, so that a run holds few at once."""
    made = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    places = {node: place for place, node in enumerate(graph.nodes)}  # a graph that reads late stays as it is

    def copied(node: fx.Node) -> fx.Node:
        if node not in copies:
            copies[node] = made.node_copy(node, copied)
        return copies[node]

    for node in graph.nodes:
        if node.op != "get_attr":
            for source in sorted(node.all_input_nodes, key=places.__getitem__):
                copied(source)
            copied(node)
    return made

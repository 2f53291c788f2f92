"""Slim models and the containers in them: layers are reached by number, by name and in a loop, as in the original.

A container has no ``forward`` of its own: what stood between its layers is in that of the whole model.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from copy import deepcopy
from typing import Any

import torch
from torch import fx, nn

from graphprune.capture.registering import register_again

__all__ = ["Container", "NamedContainer", "SlimModule", "container_at", "fill_lists"]


class _Indexed(nn.Module):
    """Children as `nn.Sequential`, `nn.ModuleList`, `nn.ModuleDict` and the containers of parameters give them.

    Where all have numbers they are a list, else a dict.
    """

    def _entries(self) -> dict[str, Any]:
        entries: dict[str, Any] = {**self._modules, **self._parameters, **self._buffers}
        if all(name.isdigit() for name in entries):
            entries = dict(sorted(entries.items(), key=lambda item: int(item[0])))
        return entries

    def __getitem__(self, key: int | slice | str) -> Any:
        entries = self._entries()
        if isinstance(key, slice):
            return list(entries.values())[key]
        name = str(len(entries) + key if isinstance(key, int) and key < 0 else key)
        if name not in entries:
            error = KeyError if isinstance(key, str) else IndexError
            raise error(f"{key!r} is none of {', '.join(entries)}")
        return entries[name]

    def __len__(self) -> int:
        return len(self._entries())

    def __bool__(self) -> bool:
        return True  # like any module

    def __iter__(self) -> Iterator[Any]:
        entries = self._entries()
        return iter(entries.values() if all(name.isdigit() for name in entries) else entries)

    def __contains__(self, key: object) -> bool:
        return any(key is entry or key == name for name, entry in self._entries().items())


class Container(_Indexed):
    """Layers, parameters and further containers under one name."""


class NamedContainer(Container):
    """What was an `nn.ModuleDict` or `nn.ParameterDict`. Others may have children of these names."""

    def keys(self) -> KeysView[str]:
        """The names of all children."""
        return self._entries().keys()

    def values(self) -> ValuesView[Any]:
        """All children."""
        return self._entries().values()

    def items(self) -> ItemsView[str, Any]:
        """All children with their names."""
        return self._entries().items()


class SlimModule(_Indexed, fx.GraphModule):
    """A graph module with all that ``root`` holds; its copies keep its name, and buffers their persistence.

    `fx.GraphModule` alone takes what its graph names, in plain modules, and makes all its buffers persistent.
    """

    def __init__(self, root: nn.Module, graph: fx.Graph, class_name: str = "SlimModel") -> None:
        super().__init__(root, graph, class_name=class_name)
        for name, module in root._modules.items():
            self._modules[name] = module
        register_again(self, root)

    def __deepcopy__(self, memo: dict[int, Any]) -> SlimModule:
        copied: SlimModule = super().__deepcopy__(memo)  # type: ignore[assignment]
        type(copied).__name__ = type(self).__name__
        register_again(copied, self)
        return copied

    def __prepare_scriptable__(self) -> SlimModule:
        """What `torch.jit.script` compiles: TorchScript knows operators by their names, not single overloads."""
        graph = deepcopy(self.graph)
        for node in graph.nodes:
            if isinstance(node.target, torch._ops.OpOverload):
                node.target = node.target.overloadpacket
        return SlimModule(self, graph, type(self).__name__)

    def __reduce__(self) -> tuple[Any, ...]:
        function, arguments = super().__reduce__()[:2]
        local = [name for name, _ in self.named_buffers(recurse=False)]
        passing = [name for name in local if name not in self.state_dict()]
        return _unpickled, (function, arguments, type(self).__name__, passing)


def _unpickled(function: Any, arguments: tuple[Any, ...], name: str, passing: list[str]) -> SlimModule:
    """What `SlimModule.__reduce__` wrote: ``passing`` are the model's own buffers that are not persistent."""
    module = function(*arguments)
    for local in passing:
        module.register_buffer(local, getattr(module, local), persistent=False)
    slim = SlimModule(module, module.graph, name)
    slim._modules.clear()  # in the order that was written
    slim._modules.update(arguments[0]["_modules"])
    return slim


def container_at(root: nn.Module, path: str, types: Mapping[str, str]) -> nn.Module:
    """The module at ``path``, with containers on the way where there are none.

    Args:
        types: the names of the classes that stood there in the original.
    """
    at = ""
    for name in path.split(".") if path else ():
        at = f"{at}.{name}" if at else name
        if name not in root._modules:
            named = types.get(at) in ("ModuleDict", "ParameterDict")
            root.add_module(name, NamedContainer() if named else Container())
        root = root._modules[name]  # type: ignore[assignment]
    return root


def fill_lists(root: nn.Module, types: Mapping[str, str]) -> None:
    """Empty containers in the place of numbered modules of which no layer is left, so that the others keep theirs."""
    inside = {
        name: module for name, module in root.named_modules() if not name or isinstance(module, Container)
    }
    for path in types:
        parent, _, name = path.rpartition(".")
        if name.isdigit() and parent in inside and name not in inside[parent]._modules:
            inside[parent].add_module(name, Container())

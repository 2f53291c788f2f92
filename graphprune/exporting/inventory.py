"""What a model is made of: its modules and tensors, in order, with ties and persistence.

Shared by the stored form and the generated source, so that both agree on which of two names is the tie.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import fx, nn

from graphprune.ground.errors import InputError

__all__ = ["Inventory", "ModuleEntry", "TensorEntry", "check_name", "own_tensors"]

# Quotes, backslashes, dots and line breaks would end up inside generated code.
NAME = re.compile(r"[\w\-+/: ]+(?:\.[\w\-+/: ]+)*")
CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


@dataclass(frozen=True)
class ModuleEntry:
    """One module.

    Attributes:
        name: dotted name, "" for the model itself.
        module: the module.
        is_layer: it is a layer of `torch.nn`; otherwise a plain group of layers. A layer can have others
            registered inside it, as a norm that has its activation function.
        same_as: the name under which the same layer object came before, if it did.
    """

    name: str
    module: nn.Module
    is_layer: bool
    same_as: str | None


@dataclass(frozen=True)
class TensorEntry:
    """One parameter or buffer.

    Attributes:
        name: dotted name.
        tensor: the parameter or buffer itself.
        owner: dotted name of the module it belongs to.
        in_layer: the owner is a `torch.nn` layer, whose constructor makes the tensor.
        persistent: it is in `state_dict()`; always true of a parameter.
        same_as: the name under which the same tensor came before, if it is tied.
    """

    name: str
    tensor: torch.Tensor
    owner: str
    in_layer: bool
    persistent: bool
    same_as: str | None

    @property
    def is_parameter(self) -> bool:
        """True of a parameter, false of a buffer."""
        return isinstance(self.tensor, nn.Parameter)


def check_name(name: object) -> str:
    """`name`, if it is a harmless dotted name.

    Raises:
        InputError: it is not text, or has quotes, backslashes or line breaks in it.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(f"{name!r} is not a usable layer or tensor name", "rename that part of the model")
    return name


@dataclass(frozen=True)
class Inventory:
    """What a raised model is made of.

    Attributes:
        modules: every group and layer but the model itself, parents first, in registration order.
        tensors: every parameter and buffer, a repeated layer's only once.
    """

    modules: tuple[ModuleEntry, ...]
    tensors: tuple[TensorEntry, ...]

    @classmethod
    def of(cls, model: fx.GraphModule) -> Inventory:
        """The parts of ``model``.

        Raises:
            InputError: a name could not be written into code.
        """
        modules = tuple(_modules(model))
        return cls(modules, tuple(_tensors(model, modules)))

    @property
    def layers(self) -> Iterator[ModuleEntry]:
        """Each layer once."""
        return (entry for entry in self.modules if entry.is_layer and entry.same_as is None)


def own_tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters, then buffers, of the module itself, tied ones each time."""
    yield from module.named_parameters(recurse=False, remove_duplicate=False)
    yield from module.named_buffers(recurse=False, remove_duplicate=False)


def _modules(model: fx.GraphModule) -> Iterator[ModuleEntry]:
    # what the graph calls is a layer even if it looks like a group
    called = {str(node.target) for node in model.graph.nodes if node.op == "call_module"}
    seen: dict[int, str] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if name:
            is_layer = type(module) not in CONTAINERS or name in called
            yield ModuleEntry(check_name(name), module, is_layer, seen.get(id(module)) if is_layer else None)
            if is_layer:
                seen.setdefault(id(module), name)


def _tensors(model: nn.Module, modules: tuple[ModuleEntry, ...]) -> Iterator[TensorEntry]:
    persistent = frozenset(model.state_dict())
    seen: dict[int, str] = {}
    for owner in (ModuleEntry("", model, is_layer=False, same_as=None), *modules):
        for local, tensor in own_tensors(owner.module) if owner.same_as is None else ():
            name = check_name(f"{owner.name}.{local}" if owner.name else local)
            same_as = seen.setdefault(id(tensor), name)
            tie = same_as if same_as != name else None
            yield TensorEntry(name, tensor, owner.name, owner.is_layer, name in persistent, tie)

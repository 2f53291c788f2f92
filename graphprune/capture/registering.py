"""Parameters and buffers of modules, and buffers that are as persistent as they were."""

from __future__ import annotations

import torch
from torch import nn

from graphprune.capture.program import Stored

__all__ = ["bits_of", "move", "register", "register_again"]


_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def bits_of(tensor: torch.Tensor) -> torch.Tensor | None:
    """The same memory as integers; None for a tensor that casting a module leaves as it is, or of 16 bytes a number."""
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.itemsize not in _BITS:
        return None
    return tensor.detach().view(_BITS[tensor.itemsize])


def register(module: nn.Module, name: str, stored: Stored) -> None:
    if stored.kind == "parameter":
        setattr(module, name, stored.tensor)
    else:
        module.register_buffer(name, stored.tensor, persistent=stored.persistent)


def register_again(module: nn.Module, root: nn.Module) -> None:
    """`fx.GraphModule` makes every buffer persistent that the graph reads by name; ``root`` knows better."""
    saved = root.state_dict(keep_vars=True).keys()
    for name, tensor in list(module.named_buffers(remove_duplicate=False)):
        if name not in saved:
            path, _, local = name.rpartition(".")
            module.get_submodule(path).register_buffer(local, tensor, persistent=False)


def move(container: nn.Module, layer: nn.Module) -> None:
    """What stands below a layer's name, or beside its tensors, moves into the layer."""
    for name, child in container.named_children():
        layer.add_module(name, child)
    for name, parameter in container.named_parameters(recurse=False):
        layer.register_parameter(name, parameter)
    kept = container.state_dict()
    for name, buffer in container.named_buffers(recurse=False):
        layer.register_buffer(name, buffer, persistent=name in kept)

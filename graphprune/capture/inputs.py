"""Example inputs: what a user may give, and how it is brought to one form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from graphprune.ground.arguments import tensor_leaves
from graphprune.ground.errors import InputError

__all__ = ["Inputs", "normalise_inputs", "registered_tensors", "with_batch"]

Inputs = tuple[tuple[Any, ...], dict[str, Any]]  # positional arguments, and those with keywords


def normalise_inputs(example_inputs: Any) -> Inputs:
    """``(args, kwargs)`` of a tensor, a tuple or list of arguments, a dict of keywords, or ``(args, kwargs)``.

    Raises:
        InputError: there is no tensor in it.
    """
    match example_inputs:
        case torch.Tensor():
            inputs: Inputs = ((example_inputs,), {})
        case Mapping():
            inputs = ((), dict(example_inputs))
        case (tuple() | list() as args, dict() as kwargs) if isinstance(example_inputs, tuple) and all(
            isinstance(key, str) for key in kwargs
        ):
            inputs = (tuple(args), dict(kwargs))
        case tuple() | list():
            inputs = (tuple(example_inputs), {})
        case _:
            raise InputError(
                f"example_inputs is a {type(example_inputs).__name__}",
                "give a tensor, a tuple of arguments, a dict of keyword arguments, or (args, kwargs)",
            )
    if not tensor_leaves(inputs):
        raise InputError("example_inputs holds no tensor", "give the inputs of one forward call")
    # copies: the sizes of a view's base would become part of the capture, and one tensor given in several places one
    # input
    return pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.detach().clone(), inputs)


def registered_tensors(model: torch.nn.Module, recurse: bool = True) -> dict[str, torch.Tensor]:
    """Parameters, then buffers, under all names under which ``model`` registers them, tied ones several times.

    Those of the modules within it come too, unless ``recurse`` is False.
    """
    parameters = model.named_parameters(recurse=recurse, remove_duplicate=False)
    return {**dict(parameters), **dict(model.named_buffers(recurse=recurse, remove_duplicate=False))}


def with_batch(inputs: Inputs, batch: int) -> Inputs:
    """``inputs`` with the first dimension of every tensor repeated or cut to ``batch``."""

    def resized(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dim() == 0 or tensor.shape[0] == batch:
            return tensor
        return tensor.repeat(-(-batch // tensor.shape[0]), *[1] * (tensor.dim() - 1))[:batch]

    return pytree.tree_map_only(torch.Tensor, resized, inputs)

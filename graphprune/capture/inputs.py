"""Example inputs: what a user may give, and how it is brought to one form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from graphprune.capture.dimensions import Dimension
from graphprune.capture.objects import register_objects
from graphprune.ground.arguments import tensor_leaves
from graphprune.ground.errors import InputError

__all__ = [
    "Inputs",
    "fresh",
    "input_dimensions",
    "normalise_inputs",
    "registered_tensors",
    "with_shapes",
    "with_sizes",
    "with_values",
]

Inputs = tuple[tuple[Any, ...], dict[str, Any]]  # positional arguments, and those with keywords


def normalise_inputs(example_inputs: Any) -> Inputs:
    """``(args, kwargs)`` of a tensor, a tuple or list of arguments, a dict of keywords, or ``(args, kwargs)``.

    An argument may be an object that holds tensors, see `register_objects`.

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
    register_objects((*inputs[0], *inputs[1].values()))
    if not tensor_leaves(inputs):
        raise InputError("example_inputs holds no tensor", "give the inputs of one forward call")
    # copies: the sizes of a view's base would become part of the capture, and one tensor given in several places one
    # input
    return pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.detach().clone(), inputs)


def fresh(inputs: Inputs) -> Inputs:
    """The same tensors in other containers and objects, which a call may change."""
    args, kwargs = pytree.tree_map(lambda leaf: leaf, inputs)
    return args, kwargs


def registered_tensors(model: torch.nn.Module, recurse: bool = True) -> dict[str, torch.Tensor]:
    """Parameters, then buffers, under all names under which ``model`` registers them, tied ones several times.

    Those of the modules within it come too, unless ``recurse`` is False.
    """
    parameters = model.named_parameters(recurse=recurse, remove_duplicate=False)
    return {**dict(parameters), **dict(model.named_buffers(recurse=recurse, remove_duplicate=False))}


def input_dimensions(inputs: Inputs, parameters: Sequence[str]) -> list[Dimension]:
    """Every dimension of every tensor, under the names of ``parameters`` where arguments have none, all fixed."""
    named = {**dict(zip(parameters, inputs[0], strict=True)), **inputs[1]}
    leaves = [
        (".".join([name, *(str(getattr(key, "key", getattr(key, "idx", key))) for key in path)]), leaf)
        for name, value in named.items()
        for path, leaf in pytree.tree_flatten_with_path(value)[0]
    ]
    return [
        Dimension(label, place, dim, size)
        for place, (label, leaf) in enumerate(leaves)
        if isinstance(leaf, torch.Tensor)
        for dim, size in enumerate(leaf.shape)
    ]


def with_sizes(inputs: Inputs, dimensions: Iterable[Dimension], sizes: Mapping[str, int]) -> Inputs:
    """``inputs`` with tensors repeated or cut, so that each dimension that is named in ``sizes`` has that size."""
    return with_values(inputs, {(at.place, at.dim): sizes[at.name] for at in dimensions if at.name in sizes})


def with_values(inputs: Inputs, sizes: Mapping[tuple[int, int], int]) -> Inputs:
    """``inputs`` with tensors repeated or cut, so that they have these sizes at some places (leaf, dimension)."""
    leaves, structure = pytree.tree_flatten(inputs)
    for (place, dim), size in sizes.items():
        leaves[place] = _resized(leaves[place], dim, size)
    return pytree.tree_unflatten(leaves, structure)


def with_shapes(inputs: Inputs, sizes: Mapping[tuple[int, int], int]) -> Inputs:
    """Tensors like ``inputs`` with other sizes at some places (leaf, dimension), their values undefined."""
    leaves, structure = pytree.tree_flatten(inputs)

    def emptied(place: int, leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        shape = [sizes.get((place, dim), size) for dim, size in enumerate(leaf.shape)]
        return torch.empty(shape, dtype=leaf.dtype, device=leaf.device)

    return pytree.tree_unflatten([emptied(*pair) for pair in enumerate(leaves)], structure)


def _resized(tensor: torch.Tensor, dim: int, size: int) -> torch.Tensor:
    if tensor.shape[dim] == size:
        return tensor
    times = [1] * tensor.dim()
    times[dim] = -(-size // max(tensor.shape[dim], 1))
    return tensor.repeat(times).narrow(dim, 0, size)

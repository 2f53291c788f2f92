"""Puts slim layers back into the user's own module, for models of which only a part could be captured."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils import parametrize

from graphprune.capture.inputs import registered_tensors
from graphprune.capture.objects import children, is_object
from graphprune.capture.simplify import HOOKED

__all__ = ["Place", "graft", "plain_weights", "shown_place", "whole_numbers"]

# a module's name, then an attribute, then what leads further in: names, keys or numbers
Place = tuple[Any, ...]
_DEPTH = 3

# attributes in which torch.nn's layers repeat the shapes of their tensors
_WIDTHS = (
    "in_features out_features in_channels out_channels groups num_features num_groups num_channels "
    "normalized_shape num_embeddings embedding_dim num_parameters input_size hidden_size"
).split()


def graft(
    model: nn.Module, slim: fx.GraphModule, numbers: Mapping[Place, int], hollow: bool = False
) -> nn.Module:
    """A copy of ``model`` whose layers hold the tensors of ``slim``, which are shared, not copied.

    The copy runs the user's own ``forward``, so it can do what no program captures.

    Args:
        numbers: attributes of the model, or of objects that its modules hold, that have other values in the copy; what
            layers of `torch.nn` repeat of their tensors' shapes follows by itself.
        hollow: tensors that ``slim`` has not are without data in the copy.
    """
    tensors, own = registered_tensors(slim), registered_tensors(model)
    memo: dict[int, Any] = {id(own[name]): tensors[name] for name in own if name in tensors}
    if hollow:
        others = [tensor for name, tensor in own.items() if name not in tensors]
        memo |= {id(tensor): torch.empty_like(tensor, device="meta") for tensor in others}
    for module in model.modules():
        # the last result of a hook is kept as a plain attribute, which no copy can be made of
        memo |= {
            id(vars(module)[local]): vars(module)[local].detach()
            for local in _hooks(module).values()
            if local in vars(module)
        }
    grafted = copy.deepcopy(model, memo)
    layers = dict(slim.named_modules())
    for name, module in grafted.named_modules():
        plain_weights(name, module, tensors)
        for width in _WIDTHS:
            if hasattr(layers.get(name), width) and width in vars(module):
                setattr(module, width, getattr(layers[name], width))
    for name in tensors.keys() - own.keys():  # such as a bias that takes what dead units gave
        path, _, local = name.rpartition(".")
        owner = grafted.get_submodule(path) if path in layers else None
        if owner is not None and local in owner._parameters and owner._parameters[local] is None:
            setattr(owner, local, tensors[name])
    for (path, *keys), value in numbers.items():
        _set(grafted.get_submodule(path), keys, value)
    return grafted


def whole_numbers(model: nn.Module) -> dict[Place, int]:
    """Whole numbers above 1 in the attributes of modules, and in what stands in these: lists, dicts, configurations.

    Each object counts once, at the first place where it is found. Layers of `torch.nn` that hold tensors have numbers
    that follow from these.
    """
    found: dict[Place, int] = {}
    met: set[int] = set()
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if not name.startswith("_") and not (
                name in _WIDTHS and type(module).__module__.startswith("torch.nn.")
            ):
                _walk(value, (path, name), found, met)
    return found


def _walk(value: Any, place: Place, found: dict[Place, int], met: set[int]) -> None:
    if type(value) is int and value > 1:
        found[place] = value
    elif (
        (is_object(value) or type(value) in (list, tuple, dict))
        and len(place) <= _DEPTH
        and id(value) not in met
    ):
        met.add(id(value))
        for key, item in children(value):
            if isinstance(key, str | int):
                _walk(item, (*place, key), found, met)


def _set(holder: Any, keys: Sequence[Any], value: int) -> None:
    """Puts ``value`` at the place: a tuple is replaced by another one, all else changes where it stands."""
    key, *below = keys
    inside = holder[key] if isinstance(holder, list | dict) else getattr(holder, key)
    if below and isinstance(inside, tuple):
        value = tuple(value if place == below[0] else item for place, item in enumerate(inside))  # type: ignore[assignment]
        below = []
    if below:
        _set(inside, below, value)
    elif isinstance(holder, list | dict):
        holder[key] = value
    else:
        setattr(holder, key, value)


def shown_place(place: Place) -> str:
    """As it is written in Python: ``blocks.0.attention.num_heads``.

    >>> shown_place(("encoder.0", "config", "heads"))
    'encoder.0.config.heads'
    """
    return ".".join(str(part) for part in place if part != "")


def _hooks(module: nn.Module) -> dict[int, str]:
    """The older hooks of `torch.nn.utils`, masks among them: their number → the weight that they compute."""
    found = {}
    for number, hook in module._forward_pre_hooks.items():
        local = getattr(hook, "name", None) or getattr(hook, "_tensor_name", None)
        if type(hook).__module__.startswith("torch.nn.utils.") and isinstance(local, str):
            found[number] = local
    return found


def plain_weights(path: str, module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Capture has folded the weights that parametrisations and hooks compute; here they become plain as well."""
    prefix = f"{path}." if path else ""
    if parametrize.is_parametrized(module):
        # a copy shares the class that has the weight as a property, and that would go from the original too
        shared = type(module)
        held = {key: value for key, value in vars(shared).items() if key not in ("__dict__", "__weakref__")}
        module.__class__ = type(shared.__name__, shared.__bases__, held)
        for local in list(module.parametrizations):  # type: ignore[arg-type]
            if prefix + local in tensors:
                parametrize.remove_parametrizations(module, local)
                setattr(module, local, tensors[prefix + local])
    for number, local in _hooks(module).items():
        if prefix + local in tensors:
            del module._forward_pre_hooks[number]
            for original in (f"{local}_{kind}" for kind in HOOKED):
                module._parameters.pop(original, None)
                module._buffers.pop(original, None)
            vars(module).pop(local, None)
            setattr(module, local, tensors[prefix + local])

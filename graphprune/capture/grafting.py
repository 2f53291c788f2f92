"""Puts slim layers back into the user's own module, for models of which only a part could be captured."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils import parametrize

from graphprune.capture.export import left_as_it_was, what_failed
from graphprune.capture.inputs import fresh, registered_tensors
from graphprune.capture.outputs import positions
from graphprune.capture.program import Program
from graphprune.capture.simplify import HOOKED
from graphprune.ground.arguments import tensor_leaves
from graphprune.ground.errors import InputError

__all__ = ["graft"]

# attributes in which torch.nn's layers repeat the shapes of their tensors
_WIDTHS = (
    "in_features out_features in_channels out_channels groups num_features num_groups num_channels "
    "normalized_shape num_embeddings embedding_dim num_parameters input_size hidden_size"
).split()


def graft(model: nn.Module, slim: fx.GraphModule, program: Program) -> nn.Module:
    """A copy of ``model`` whose layers hold the tensors of ``slim``, which are shared, not copied.

    The copy runs the user's own ``forward``, so it can do what no program captures; it must give what ``slim``
    gives on the example.

    Raises:
        InputError: the model's code itself mentions a width, so that it does not run with slim layers.
    """
    tensors, own = registered_tensors(slim), registered_tensors(model)
    memo: dict[int, Any] = {id(own[name]): tensors[name] for name in own if name in tensors}
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
        _plain_weights(name, module, tensors)
        for width in _WIDTHS:
            if hasattr(layers.get(name), width) and width in vars(module):
                setattr(module, width, getattr(layers[name], width))
    _compare(grafted, slim, program)
    return grafted


def _hooks(module: nn.Module) -> dict[int, str]:
    """The older hooks of `torch.nn.utils`, masks among them: their number → the weight that they compute."""
    found = {}
    for number, hook in module._forward_pre_hooks.items():
        local = getattr(hook, "name", None) or getattr(hook, "_tensor_name", None)
        if type(hook).__module__.startswith("torch.nn.utils.") and isinstance(local, str):
            found[number] = local
    return found


def _plain_weights(path: str, module: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Capture has folded the weights that parametrisations and hooks compute; here they become plain as well."""
    prefix = f"{path}." if path else ""
    if parametrize.is_parametrized(module):
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


def _compare(grafted: nn.Module, slim: fx.GraphModule, program: Program) -> None:
    remedy = "let that line take the width from its tensors, or use the slim module as it is"
    args, kwargs = fresh(program.example)
    with torch.no_grad(), left_as_it_was(grafted):
        try:
            given = positions(grafted(*args, **kwargs), program.returned)
        except Exception as error:  # whatever the user's forward raises
            raise InputError(
                f"the model's own forward does not run with slim layers: {what_failed(error)}", remedy
            ) from error
        args, kwargs = fresh(program.example)
        wanted = tensor_leaves(slim(*args, **kwargs))
    for one, two in zip(given, wanted, strict=True):
        if one.shape != two.shape or not torch.allclose(
            one, two, rtol=1e-3, atol=1e-4 * float(two.abs().max())
        ):
            raise InputError("the model's own forward computes otherwise with slim layers", remedy)

"""Moves an optimizer from the original model to the slim one, so that training goes on where it was."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.ground.errors import InputError, PlanError
from graphprune.planning.region import narrowed

__all__ = ["remap_optimizer"]

Kept = Mapping[str, Mapping[int, Tensor]]


def remap_optimizer(
    kept: Kept, optimizer: torch.optim.Optimizer, model: nn.Module, slim: nn.Module
) -> torch.optim.Optimizer:
    """See `Plan.remap_optimizer`; ``kept`` is `Plan.kept`."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    targets = dict(slim.named_parameters())
    _check(names, targets, optimizer)
    groups = [_group(group, names, targets) for group in optimizer.param_groups]
    moved = type(optimizer)([group for group in groups if group["params"]], **_arguments(optimizer))
    for parameter, state in optimizer.state.items():
        name = names[parameter]  # type: ignore[index]
        if name in targets:
            target = targets[name]
            moved.state[target] = {
                key: _state(name, key, value, parameter, target, kept.get(name, {}))
                for key, value in state.items()
            }
    return moved


def _check(
    names: Mapping[nn.Parameter, str], targets: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
) -> None:
    known = set(names.values())
    strange = next((name for name in targets if name not in known), None)
    if strange is not None:
        raise InputError(
            f"parameter {strange} of the slim model is none of the original's",
            "give the model that the plan was made for; parametrised weights have become plain ones",
        )
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if any(parameter not in names for parameter in held):
        raise InputError(
            "the optimizer holds parameters that are not the original model's",
            "give the model whose parameters it was made with",
        )


def _group(
    group: Mapping[str, Any], names: Mapping[nn.Parameter, str], targets: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameter group with the slim model's parameters and the same options."""
    found = [names[parameter] for parameter in group["params"] if names[parameter] in targets]
    named = "param_names" in group  # torch then wants pairs
    options = {key: value for key, value in group.items() if key not in ("params", "param_names")}
    return {**options, "params": [(name, targets[name]) if named else targets[name] for name in found]}


def _arguments(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Those defaults that the optimizer's class takes; AdamW's hold one that only Adam does."""
    taken = inspect.signature(type(optimizer).__init__).parameters
    return {key: value for key, value in optimizer.defaults.items() if key in taken}


def _state(
    name: str, key: str, value: Any, parameter: Tensor, target: Tensor, kept: Mapping[int, Tensor]
) -> Any:
    """A tensor of the parameter's shape loses what the parameter loses; numbers and counts are copied."""
    if not isinstance(value, Tensor):
        return value
    if value.shape != parameter.shape or not value.dim():
        if value.numel() != 1:
            raise InputError(
                f"the optimizer keeps {key} of shape {tuple(value.shape)} for {name} {tuple(parameter.shape)}",
                "only state of the parameter's shape can be cut: start this optimizer anew",
            )
        return value.clone()
    value = narrowed(value, kept)
    if value.shape != target.shape:
        raise PlanError(
            f"the plan makes {name} {tuple(value.shape)}, and the slim model has {tuple(target.shape)}",
            "give the slim model that this plan made",
        )
    return value.to(target.device, copy=True)

"""The optimizer, the learning rate of every step, and the running average of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, pi

import torch
from torch import Tensor, nn

from graphprune.asking.tuning import Tuning
from graphprune.ground.errors import InputError

__all__ = ["learning_rate", "make_optimizer", "update_average"]


def make_optimizer(model: nn.Module, settings: Tuning) -> torch.optim.Optimizer:
    """Of the parameters that may be trained; only those with two dimensions or more decay.

    Raises:
        InputError: all of them are frozen.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise InputError("no parameter of the model requires gradients", "call requires_grad_() on some")
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr)
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0)


def learning_rate(step: int, steps: int, settings: Tuning) -> float:
    """The learning rate of step ``step`` (from 0) of ``steps``: a linear warm-up, then half a cosine down to zero."""
    warm = round(float(settings.warmup) * steps)
    if step < warm:
        return settings.lr * (step + 1) / warm
    return settings.lr * (1 + cos(pi * (step - warm) / max(steps - warm, 1))) / 2


def update_average(
    average: Mapping[str, Tensor], tensors: Mapping[str, Tensor], step: int, decay: float
) -> None:
    """Moves ``average`` towards ``tensors`` in place, after step ``step`` (from 0); counters are copied.

    The decay starts small, min(decay, (1 + step) / (10 + step)), so that a short run is not all beginning.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            average[name].lerp_(tensor.detach(), weight)
        else:
            average[name].copy_(tensor)

"""Losses: the user's, called and checked, and the one that needs no labels."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.capture import tensor_leaves
from graphprune.ground.errors import GraphpruneError, InputError

__all__ = ["Evaluate", "Loss", "call_loss", "signs_loss"]

Loss = Callable[..., Tensor]
# of a model: a number, or a dict whose first value counts; higher is better
Evaluate = Callable[[nn.Module], Any]


def call_loss(loss: Loss, outputs: Any, batch: Any) -> Tensor:
    """``loss(outputs, batch)``, or ``loss(outputs)`` where it takes one argument: a tensor of shape ``[]``.

    Raises:
        InputError: it fails, or gives no number that depends on the outputs.
    """
    try:
        value = loss(outputs, batch) if _takes_two(loss) else loss(outputs)
    except GraphpruneError:
        raise
    except Exception as error:
        raise InputError(
            f"the loss fails: {type(error).__name__}: {error}",
            "it is called with the model's outputs, or with them and the batch",
        ) from error
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        raise InputError(
            "the loss does not return one number that depends on the model",
            "return a tensor of one element, computed from the outputs with torch",
        )
    return value.reshape(())


def _takes_two(loss: Loss) -> bool:
    try:
        inspect.signature(loss).bind(None, None)
    except (TypeError, ValueError):
        return False
    return True


def signs_loss(outputs: Any, generator: torch.Generator) -> Tensor:
    """The default loss, which needs no labels: the outputs times random signs, summed.

    The distance of the output to itself has no gradient where the model stands. This is its expectation under
    a small change of the weights, to first order: with random signs r the squared derivative of ``r·y`` along a change
    d averages to ``|J d|^2``, the squared change of the output y (Hutchinson 1990). It is zero only where the output
    does not depend on the weights at all.

    Raises:
        InputError: no output is floating.
    """
    floating = [leaf for leaf in tensor_leaves(outputs) if leaf.is_floating_point()]
    if not floating:
        raise InputError(
            "no output of the model has gradients", "give a loss, or a criterion without gradients"
        )
    total = torch.zeros((), dtype=floating[0].dtype, device=floating[0].device)
    for leaf in floating:
        signs = torch.randint(0, 2, leaf.shape, generator=generator) * 2 - 1
        total = total + (leaf * signs.to(leaf)).sum()
    return total

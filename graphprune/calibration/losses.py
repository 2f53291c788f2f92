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
# what arguments of a loss are called, by torch and by others after it
_OUTPUT = ("input", "inputs")
_LABELS = ("target", "targets", "label", "labels")


def call_loss(loss: Loss, outputs: Any, batch: Any, labels: Any = None) -> Tensor:
    """The loss of one batch: a tensor of shape ``[]``.

    The second argument of the loss says what it takes. One that is called target or labels, as in torch's own losses,
    takes the labels of the batch, and one of any other name the batch. A loss without a second argument takes the
    outputs alone.

    Args:
        loss: a function, or a module such as `torch.nn.CrossEntropyLoss`.
        outputs: of the model. Where the first argument is called input, as in torch's own losses, it is the tensor
            in them, if they hold only one.
        batch: as it was given.
        labels: those of the batch; None where it has none.

    Raises:
        InputError: it fails, wants labels that are not there, or gives no number that depends on the outputs.
    """
    first, second = _arguments(loss)
    given: Any = batch
    if second in _LABELS:
        given, leaves = labels, tensor_leaves(outputs)
        outputs = leaves[0] if first in _OUTPUT and len(leaves) == 1 else outputs
        if labels is None:
            raise InputError(
                f"the loss takes labels, as its second argument {second!r}, and the batches have none",
                "give pairs of inputs and labels, or a loss of the outputs alone",
            )
    try:
        value = loss(outputs, given) if second else loss(outputs)
    except GraphpruneError:
        raise
    except Exception as error:
        raise InputError(
            f"the loss fails: {type(error).__name__}: {error}",
            "it is called with the model's outputs, or with them and the batch (the labels, where its second "
            "argument is called target or labels)",
        ) from error
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        raise InputError(
            "the loss does not return one number that depends on the model",
            "return a tensor of one element, computed from the outputs with torch",
        )
    return value.reshape(())


def _arguments(loss: Loss) -> tuple[str, str]:
    """Names of the two arguments that the loss takes by their places; the second is empty where it takes only one."""
    try:
        signature = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss)
        bound = signature.bind(None, None).arguments
    except (TypeError, ValueError):
        return "", ""
    first, *others = bound
    return first, others[0] if others else first


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

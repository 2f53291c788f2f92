"""One run backward: gradients of a random combination of outputs, by parameters and inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = [
    "Gradients",
    "Laid",
    "NoGradientError",
    "as_given",
    "backward",
    "copied",
    "is_smooth",
    "learning",
    "leaves_of",
    "numbered",
]

Gradients = dict[str, Tensor]


class NoGradientError(RuntimeError):
    """A run cannot be differentiated; says why."""


class Laid(TorchFunctionMode):
    """Gradients reach a batch norm in the layout of its output.

    PyTorch's CPU kernel of its derivative in eval mode takes others, such as what comes back through a transpose, for
    that layout: the gradients it gives are wrong (seen with 2.13), in the user's model as in the slim one.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if (
            func in (F.batch_norm, torch.batch_norm, torch.ops.aten.batch_norm.default)
            and result.requires_grad
        ):
            result.register_hook(torch.empty_like(result).copy_)
        return result


def backward(outputs: Sequence[Tensor], leaves: Gradients, seed: int) -> Gradients:
    """The gradients of a random combination of ``outputs``; zeros where one does not depend on a leaf."""
    followed: list[Tensor] = []
    weights: list[Tensor] = []
    for place, output in enumerate(outputs):
        if output.requires_grad:
            plain = torch.view_as_real(output.resolve_conj()) if output.is_complex() else output
            generator = torch.Generator().manual_seed(seed * 1_009 + place)
            followed.append(plain)
            drawn = torch.randn(plain.shape, generator=generator, dtype=torch.float64)
            weights.append(drawn.to(plain.dtype))
    if not followed:
        raise NoGradientError("nothing that it returns has a derivative")
    found = torch.autograd.grad(followed, list(leaves.values()), weights, allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }


def leaves_of(tensors: Mapping[str, Tensor], chosen: Collection[str], by: float = 0.0) -> Gradients:
    """The ``chosen`` ones to be differentiated by, changed by up to the part ``by`` of them; others as they are."""
    generator = torch.Generator().manual_seed(0)
    found: Gradients = {}
    for name in tensors:
        tensor = tensors[name].detach()
        if name in chosen:
            if by:
                tensor = tensor * (
                    1 + by * (2 * torch.rand(tensor.shape, generator=generator) - 1).to(tensor)
                )
            tensor.requires_grad_()
        found[name] = tensor
    return found


def as_given(inputs: Sequence[Any]) -> list[Any]:
    return [
        leaf.detach().clone().requires_grad_() if isinstance(leaf, Tensor) and is_smooth(leaf) else leaf
        for leaf in inputs
    ]


def copied(inputs: Sequence[Any]) -> list[Any]:
    """Copies, which may be written into, through which gradients flow."""
    return [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in inputs]


def numbered(inputs: Sequence[Any]) -> Gradients:
    return learning({f"input {place}": leaf for place, leaf in enumerate(inputs)})


def learning(values: Mapping[str, Any]) -> Gradients:
    return {n: leaf for n, leaf in values.items() if isinstance(leaf, Tensor) and leaf.requires_grad}


def is_smooth(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()

"""Tensors for the checks, made when they are read, so that no second copy of a model's weights is held.

They are a model's own, or random ones, so that no check is blind: zero-initialised heads, layer scales of 1e-5 and
fresh running statistics hide errors in the own ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.capture.inputs import registered_tensors
from graphprune.capture.lazy import Lazy
from graphprune.capture.program import Stored

__all__ = [
    "Latest",
    "Lively",
    "converted",
    "drawn_like",
    "in_dtype",
    "is_finite_like",
    "is_inexact",
    "like_stored",
    "randomised",
    "widened",
]

_BLOCK = 1_048_573  # a prime
_COMPLEX = {torch.float16: torch.complex32, torch.float32: torch.complex64, torch.float64: torch.complex128}


class Latest(Lazy):
    """The last tensor is kept, since two programs that are compared read each one after the other."""

    def __init__(self, names: Iterable[str], make: Callable[[str], Tensor]) -> None:
        super().__init__(names, make)
        self._last: tuple[str, Tensor] | None = None

    def __getitem__(self, name: str) -> Tensor:
        if self._last is None or self._last[0] != name:
            self._last = (name, self.make(name))
        return self._last[1]


def is_inexact(dtype: torch.dtype) -> bool:
    """Whether numbers of ``dtype``, real or complex, are rounded."""
    return dtype.is_floating_point or dtype.is_complex


def widened(argument: Any, dtype: torch.dtype | None) -> Any:
    """``dtype`` in the place of any other floating one, and its complex fellow in that of a complex one."""
    if dtype is None or not isinstance(argument, torch.dtype) or not is_inexact(argument):
        return argument
    return _COMPLEX[dtype] if argument.is_complex else dtype


def in_dtype(leaf: Any, dtype: torch.dtype | None) -> Any:
    """A floating or complex tensor in ``dtype``, see `widened`; anything else as it is."""
    return leaf.to(widened(leaf.dtype, dtype)) if isinstance(leaf, Tensor) else leaf


def is_finite_like(one: Tensor, other: Tensor) -> bool:
    """Whether ``other`` has the dtype and shape of ``one``, and no NaN and no infinity."""
    return (one.dtype, one.shape) == (other.dtype, other.shape) and bool(torch.isfinite(other).all())


def drawn_like(tensor: Tensor, generator: torch.Generator, uniform: bool = False) -> Tensor:
    """Normal random numbers, complex ones for a complex tensor: of its shape, on the CPU in single precision.

    Of many, blocks repeat, each time from another place on: a million numbers take as long to draw as thirty to copy. A
    block is a prime number of numbers, so that no two rows or channels are alike.

    Args:
        uniform: between 0 and 1 instead.
    """
    draw = torch.rand if uniform else torch.randn
    if tensor.is_complex() or tensor.numel() <= _BLOCK // 16:
        dtype = torch.complex64 if tensor.is_complex() else torch.float32
        return draw(tensor.shape, generator=generator, dtype=dtype)
    start = int(torch.randint(_BLOCK, (), generator=generator))
    drawn, block = torch.empty(tensor.numel()), _blocks(draw)[start : start + _BLOCK]
    whole = drawn.numel() // _BLOCK * _BLOCK
    drawn[:whole].view(-1, _BLOCK).copy_(block)
    drawn[whole:] = block[: drawn.numel() - whole]
    return drawn.view(tensor.shape)


@cache
def _blocks(draw: Callable[..., Tensor]) -> Tensor:
    """Two of the same, of which one begins anywhere."""
    return draw(_BLOCK, generator=torch.Generator().manual_seed(0), dtype=torch.float32).repeat(2)


def converted(tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> Latest:
    """Stored tensors, the floating and complex ones in ``dtype``, see `in_dtype`; None keeps theirs."""
    return Latest(tensors, lambda name: in_dtype(tensors[name].detach(), dtype))


def like_stored(tensors: Mapping[str, Tensor], stored: Mapping[str, Stored]) -> Latest:
    """``tensors`` that autograd takes for parameters where those stored are: torch chooses some kernels by that."""

    def make(name: str) -> Tensor:
        tensor = tensors[name].detach()
        return tensor.requires_grad_(stored[name].tensor.requires_grad and is_inexact(tensor.dtype))

    return Latest(tensors, make)


def randomised(
    stored: Mapping[str, Stored],
    seed: int,
    dtype: torch.dtype | None,
    gain: float = 0.5,
    centred: tuple[str, ...] = (),
) -> Latest:
    """Parameters and running statistics drawn anew; other buffers and constants as they are.

    Matrices halve the norm of what passes through them, so that residual streams do not blow up and softmax does
    not magnify rounding; vectors (biases too) lie around one, so that signals do not die; variances are positive.

    Args:
        gain: of a matrix, on the norm of what passes through it.
        centred: endings of the names of vectors that lie around zero, not one.
    """
    own = converted({name: item.tensor for name, item in stored.items()}, dtype)
    seeds = {name: seed * 1_000_003 + index for index, name in enumerate(stored)}

    def drawn(name: str, like: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seeds[name])
        if name.endswith("running_var"):
            return torch.rand(like.shape, generator=generator) + 0.5
        values = drawn_like(like, generator)
        if name.endswith("running_mean"):
            return values.mul_(0.3)
        if like.dim() < 2:
            return values.mul_(0.3).add_(0 if name.endswith(centred) else 1)
        return values.mul_(gain * max(like.numel() // max(like.shape[0], 1), 1) ** -0.5)

    def make(name: str) -> Tensor:
        item = stored[name]
        running = name.endswith(("running_mean", "running_var"))
        if not is_inexact(item.tensor.dtype) or not (item.kind == "parameter" or running):
            return own[name]
        return drawn(name, item.tensor).to(item.tensor.device, widened(item.tensor.dtype, dtype))

    return Latest(stored, make)


class Lively(Latest):
    """Values for a module's tensors, under each of their names, with which outputs depend on inputs.

    Where only outputs can be compared, those of `randomised` would be blind: each matrix halves what came from
    the input and biases add a constant, so that after 50 layers (mobilenet_v2) the input is 1e-7 of the output. Here
    matrices enlarge by half (``gain``), which makes up for what activations take away, and biases lie around zero:
    inputs change the output by 1e-2 or more in every model that the project promises. Values are drawn in the module's
    own shapes, since a restricted matrix enlarges less.
    """

    def __init__(self, module: nn.Module, seed: int, gain: float = 1.5) -> None:
        kinds = {"parameter": module.named_parameters, "buffer": module.named_buffers}
        stored = {
            name: Stored(name, kind, tensor) for kind, named in kinds.items() for name, tensor in named()
        }
        # float16 ends at 65504, which residual streams that grow in every block would reach
        half = any(item.tensor.dtype is torch.float16 for item in stored.values())
        self.gain = 1.0 if half else gain
        values = randomised(stored, seed, None, self.gain, ("bias",))
        self.own = tuple(stored)  # one name for each tied tensor
        first = {id(item.tensor): name for name, item in stored.items()}
        every = {name: first[id(tensor)] for name, tensor in registered_tensors(module).items()}
        super().__init__(every, lambda name: values[every[name]])

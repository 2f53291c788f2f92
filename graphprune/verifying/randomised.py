"""Random values for a model's tensors, so that no check is blind.

Zero-initialised heads, layer scales of 1e-5 and fresh running statistics hide errors in a model's own
tensors.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from graphprune.capture.program import Stored
from graphprune.verifying.lazy import Lazy, converted

__all__ = ["Lively", "randomised"]


def randomised(
    stored: Mapping[str, Stored],
    seed: int,
    dtype: torch.dtype | None,
    gain: float = 0.5,
    centred: tuple[str, ...] = (),
) -> Lazy:
    """Parameters and running statistics drawn anew; other buffers and constants as they are.

    Matrices halve the norm of what passes through them, so that residual streams do not blow up and softmax does
    not magnify rounding; vectors (biases too) lie around one, so that signals do not die; variances are positive.

    Args:
        gain: of a matrix, on the norm of what passes through it.
        centred: endings of the names of vectors that lie around zero, not one.
    """
    own = converted(stored, dtype)
    seeds = {name: seed * 1_000_003 + index for index, name in enumerate(stored)}

    def drawn(name: str, like: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seeds[name])
        if name.endswith("running_var"):
            return torch.rand(like.shape, generator=generator) + 0.5
        values = torch.randn(like.shape, generator=generator)
        if name.endswith("running_mean"):
            return values.mul_(0.3)
        if like.dim() < 2:
            return values.mul_(0.3).add_(0 if name.endswith(centred) else 1)
        return values.mul_(gain * max(like.numel() // max(like.shape[0], 1), 1) ** -0.5)

    def make(name: str) -> Tensor:
        item = stored[name]
        running = name.endswith(("running_mean", "running_var"))
        if not item.tensor.is_floating_point() or not (item.kind == "parameter" or running):
            return own[name]
        return drawn(name, item.tensor).to(item.tensor.device, dtype or item.tensor.dtype)

    return Lazy(stored, make)


class Lively(Lazy):
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
        every = {
            name: first[id(tensor)]
            for named in kinds.values()
            for name, tensor in named(remove_duplicate=False)
        }
        super().__init__(every, lambda name: values[every[name]])

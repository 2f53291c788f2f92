"""Random values for a model's tensors, so that no check is blind.

Zero-initialised heads, layer scales of 1e-5 and fresh running statistics hide errors in a model's own
tensors. Values are made when they are read, so that no second copy of the weights is held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from graphprune.capture.program import Stored

__all__ = ["Converted", "Lively", "Randomised"]


class Converted(Mapping[str, Tensor]):
    """Stored tensors with floating values converted to ``dtype`` (None keeps theirs)."""

    def __init__(self, stored: Mapping[str, Stored], dtype: torch.dtype | None) -> None:
        self.stored = stored
        self.dtype = dtype

    def __getitem__(self, name: str) -> Tensor:
        tensor = self.stored[name].tensor.detach()
        floating = self.dtype is not None and tensor.is_floating_point()
        return tensor.to(self.dtype) if floating else tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


class Randomised(Converted):
    """Parameters and running statistics drawn anew; other buffers and constants as they are.

    Matrices halve the norm of what passes through them, so that residual streams do not blow up and softmax does
    not magnify rounding; vectors (biases too) lie around one, so that signals do not die; variances are positive.
    """

    # of a matrix, on the norm of what passes through it; and what lies around zero, not one
    gain = 0.5
    centred: tuple[str, ...] = ()

    def __init__(self, stored: Mapping[str, Stored], seed: int, dtype: torch.dtype | None) -> None:
        super().__init__(stored, dtype)
        self.seeds = {name: seed * 1_000_003 + index for index, name in enumerate(stored)}

    def __getitem__(self, name: str) -> Tensor:
        item = self.stored[name]
        running = name.endswith(("running_mean", "running_var"))
        if not item.tensor.is_floating_point() or not (item.kind == "parameter" or running):
            return super().__getitem__(name)
        values = self._drawn(name, item.tensor, torch.Generator().manual_seed(self.seeds[name]))
        return values.to(item.tensor.device, self.dtype or item.tensor.dtype)

    def _drawn(self, name: str, like: Tensor, generator: torch.Generator) -> Tensor:
        if name.endswith("running_var"):
            return torch.rand(like.shape, generator=generator) + 0.5
        values = torch.randn(like.shape, generator=generator)
        if name.endswith("running_mean"):
            return values.mul_(0.3)
        if like.dim() < 2:
            return values.mul_(0.3).add_(0 if self.centred and name.endswith(self.centred) else 1)
        return values.mul_(self.gain * max(like.numel() // max(like.shape[0], 1), 1) ** -0.5)


class Lively(Randomised):
    """Values for a module's tensors, under each of their names, with which outputs depend on inputs.

    Where only outputs can be compared, those of `Randomised` would be blind: each matrix halves what came from
    the input and biases add a constant, so that after 50 layers (mobilenet_v2) the input is 1e-7 of the output. Here
    matrices enlarge by half (``gain``), which makes up for what activations take away, and biases lie around zero:
    inputs change the output by 1e-2 or more in every model that the project promises. Drawn in the module's own
    shapes, for a restricted matrix enlarges less.
    """

    centred = ("bias",)

    def __init__(self, module: nn.Module, seed: int, gain: float = 1.5) -> None:
        kinds = {"parameter": module.named_parameters, "buffer": module.named_buffers}
        stored = {
            name: Stored(name, kind, tensor) for kind, named in kinds.items() for name, tensor in named()
        }
        super().__init__(stored, seed, None)
        # float16 ends at 65504, which residual streams that grow in every block would reach
        self.gain = 1.0 if any(item.tensor.dtype is torch.float16 for item in stored.values()) else gain
        self.own = tuple(stored)  # one name for each tied tensor
        first = {id(item.tensor): name for name, item in stored.items()}
        self.first = {
            name: first[id(tensor)]
            for named in kinds.values()
            for name, tensor in named(remove_duplicate=False)
        }

    def __getitem__(self, name: str) -> Tensor:
        return super().__getitem__(self.first[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.first)

    def __len__(self) -> int:
        return len(self.first)

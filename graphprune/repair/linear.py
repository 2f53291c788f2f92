"""Operators that multiply their input with a stored weight and sum: each as a linear regression.

A row of the regression is one output position of one example. Its regressors are what the weight is multiplied with
there, its targets the output's channels. Layers with groups are as many regressions side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from graphprune.capture.roles import ROLES

__all__ = ["LINEAR", "Linear"]

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Linear:
    """A family of such operators; this one reads rows of its input's last dimension.

    Args:
        source, weight, bias: names of the arguments in the operator's schema; no bias: "".
        outputs_first: whether the weight is ``[outputs, inputs]``.
    """

    source: str
    weight: str
    bias: str
    outputs_first: bool

    def fits(self, given: Arguments, source_rank: int, weight_rank: int) -> bool:
        """Whether a call computes weight times input plus bias and nothing else.

        ``addmm`` also takes factors beta and alpha, and ``matmul`` also weights of three dimensions: those do not fit.
        """
        return given.get("beta", 1) == 1 and given.get("alpha", 1) == 1 and weight_rank == 2

    def rows(self, output: Tensor, given: Arguments, picked: Tensor) -> Tensor:
        """``[picked rows, outputs]`` of an output."""
        return output.reshape(-1, output.shape[-1])[picked]

    def targets(self, rows: Tensor, given: Arguments) -> Tensor:
        """``[groups, rows, outputs of a group]``."""
        return rows.unflatten(1, (given.get("groups", 1), -1)).transpose(0, 1)

    def regressors(self, source: Tensor, weight: Tensor, given: Arguments, picked: Tensor) -> Tensor:
        """``[groups, picked rows, regressors]``."""
        return source.reshape(-1, source.shape[-1])[picked].unsqueeze(0)

    def packed(self, change: Tensor, weight: Tensor, given: Arguments) -> Tensor:
        """``[groups, regressors, outputs of a group]`` in the shape of the weight."""
        return change[0].T if self.outputs_first else change[0]

    def outputs(self, weight: Tensor, given: Arguments) -> int:
        """The number of outputs, of all groups together."""
        return weight.shape[0] if self.outputs_first else weight.shape[1] * int(given.get("groups", 1))

    def fan_in(self, weight: Tensor, given: Arguments) -> int:
        """The number of regressors of a group: each output has a weight of its own for each of them."""
        return weight.numel() // self.outputs(weight, given)


@dataclass(frozen=True)
class _Convolution(Linear):
    """Channels stand in dimension 1; the regressors are the channels of a group at all places of the kernel."""

    def fits(self, given: Arguments, source_rank: int, weight_rank: int) -> bool:
        return source_rank in (weight_rank, weight_rank - 1)

    def rows(self, output: Tensor, given: Arguments, picked: Tensor) -> Tensor:
        return _batched(output, given).movedim(1, -1).flatten(0, -2)[picked]

    def regressors(self, source: Tensor, weight: Tensor, given: Arguments, picked: Tensor) -> Tensor:
        padded = F.pad(_batched(source, given), _padding(weight.shape[2:], given))
        return _windows(padded, weight.shape[2:], given["stride"], given, picked)

    def packed(self, change: Tensor, weight: Tensor, given: Arguments) -> Tensor:
        return change.transpose(1, 2).reshape(weight.shape)


@dataclass(frozen=True)
class _Transposed(_Convolution):
    """A convolution, with the kernel reversed, of the input with ``stride - 1`` zeros between its positions."""

    def regressors(self, source: Tensor, weight: Tensor, given: Arguments, picked: Tensor) -> Tensor:
        source, kernel = _batched(source, given), weight.shape[2:]
        spread = [(size - 1) * step + 1 for size, step in zip(source.shape[2:], given["stride"], strict=True)]
        wide = source.new_zeros((*source.shape[:2], *spread))
        places: tuple[Any, ...] = (..., *(slice(None, None, step) for step in given["stride"]))
        wide[places] = source
        sides = zip(kernel, given["dilation"], given["padding"], given["output_padding"], strict=True)
        amounts = [(d * (k - 1) - p, d * (k - 1) - p + extra) for k, d, p, extra in sides]
        padded = F.pad(wide, [amount for pair in reversed(amounts) for amount in pair])
        return _windows(padded, kernel, [1] * len(kernel), given, picked)

    def packed(self, change: Tensor, weight: Tensor, given: Arguments) -> Tensor:
        groups, _, outputs = change.shape
        places = change.reshape(groups, weight.shape[0] // groups, -1, outputs).flip(2)
        return places.transpose(2, 3).reshape(weight.shape)


def _batched(value: Tensor, given: Arguments) -> Tensor:
    return value if value.dim() == given["weight"].dim() else value.unsqueeze(0)


def _padding(kernel: Sequence[int], given: Arguments) -> list[int]:
    """What is added before and after each dimension, the last one first, as `torch.nn.functional.pad` wants it."""
    padding = given["padding"]
    if padding == "valid":
        return []
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, given["dilation"], strict=True)]
        return [amount for total in reversed(totals) for amount in (total // 2, total - total // 2)]
    return [amount for amount in reversed(padding) for _ in range(2)]


def _windows(
    padded: Tensor, kernel: Sequence[int], stride: Sequence[int], given: Arguments, picked: Tensor
) -> Tensor:
    """What the kernel covers, ``[groups, picked rows, channels of a group * places of the kernel]``."""
    windows = padded
    for dim, (size, step, spacing) in enumerate(zip(kernel, stride, given["dilation"], strict=True), 2):
        windows = windows.unfold(dim, spacing * (size - 1) + 1, step)[..., ::spacing]
    windows = windows.movedim(
        1, len(kernel) + 1
    )  # [batch, *positions, channels, *kernel], nothing copied yet
    rows = windows[torch.unravel_index(picked, windows.shape[: len(kernel) + 1])]
    return rows.unflatten(1, (given["groups"], -1)).flatten(2).transpose(0, 1)


_KINDS = {"linear": Linear, "product": Linear, "convolution": _Convolution, "transposed": _Transposed}

LINEAR: dict[str, Linear] = {
    op: _KINDS[roles.kind](roles.source, roles.weight, roles.bias, roles.kind in ("linear", "convolution"))
    for op, roles in ROLES.items()
    if roles.kind in _KINDS and op not in ("aten.bmm", "aten.baddbmm")  # a weight of one matrix
}

"""Operators that multiply their input with a stored weight and sum: each as a linear regression.

A row of the regression is one output position of one example. Its regressors are what the weight is multiplied with
there, its targets the output's channels. Layers with groups are as many regressions side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from graphprune.capture.roles import ROLES

__all__ = ["LAYERS", "Layer"]

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Layer:
    """A family of such operators; this one reads rows of its input's last dimension.

    Args:
        source, weight, bias: names of the arguments in the operator's schema; no bias: "".
        outputs_first: whether the weight is ``[outputs, inputs]``.
    """

    source: str
    weight: str
    bias: str = ""
    outputs_first: bool = True

    def fits(self, given: Arguments, source: int, weight: int) -> bool:
        """Whether a call is nothing but weight times input, plus bias; the two have so many dimensions."""
        return given.get("beta", 1) == 1 and given.get("alpha", 1) == 1 and weight == 2

    def rows(self, output: Tensor, given: Arguments, picked: Tensor) -> Tensor:
        """``[picked rows, outputs]`` of an output."""
        return output.reshape(-1, output.shape[-1])[picked]

    def targets(self, rows: Tensor, given: Arguments) -> Tensor:
        """``[groups, rows, outputs of a group]``."""
        groups = given.get("groups", 1)
        return rows.unflatten(1, (groups, -1)).transpose(0, 1)

    def regressors(self, source: Tensor, weight: Tensor, given: Arguments, picked: Tensor) -> Tensor:
        """``[groups, picked rows, regressors]``."""
        return source.reshape(-1, source.shape[-1])[picked].unsqueeze(0)

    def packed(self, change: Tensor, weight: Tensor, given: Arguments) -> Tensor:
        """``[groups, regressors, outputs of a group]`` in the shape of the weight."""
        return change[0].T if self.outputs_first else change[0]

    def fan_in(self, weight: Tensor, given: Arguments) -> int:
        """The number of regressors."""
        return weight.shape[1] if self.outputs_first else weight.shape[0]

    def outputs(self, weight: Tensor, given: Arguments) -> int:
        """The number of outputs, of all groups together."""
        return weight.shape[0] if self.outputs_first else weight.shape[1]


@dataclass(frozen=True)
class _Convolution(Layer):
    """Channels stand in dimension 1; the regressors are the channels of a group at all places of the kernel."""

    def fits(self, given: Arguments, source: int, weight: int) -> bool:
        return source in (weight, weight - 1)

    def rows(self, output: Tensor, given: Arguments, picked: Tensor) -> Tensor:
        positions = _batched(output, given).flatten(2)
        count = positions.shape[2]
        return positions[picked // count, :, picked % count]

    def regressors(self, source: Tensor, weight: Tensor, given: Arguments, picked: Tensor) -> Tensor:
        kernel = list(weight.shape[2:])
        padded = F.pad(_batched(source, given), _padding(kernel, given))
        windows = _windows(padded, kernel, given["stride"], given["dilation"], picked)
        return _grouped(windows, given["groups"])

    def packed(self, change: Tensor, weight: Tensor, given: Arguments) -> Tensor:
        return change.transpose(1, 2).reshape(weight.shape)

    def fan_in(self, weight: Tensor, given: Arguments) -> int:
        return prod(weight.shape[1:])

    def outputs(self, weight: Tensor, given: Arguments) -> int:
        return weight.shape[0]


@dataclass(frozen=True)
class _Transposed(_Convolution):
    """A convolution, with the kernel reversed, of the input with ``stride - 1`` zeros between its positions."""

    def regressors(self, source: Tensor, weight: Tensor, given: Arguments, picked: Tensor) -> Tensor:
        source, kernel = _batched(source, given), list(weight.shape[2:])
        spread = [(size - 1) * step + 1 for size, step in zip(source.shape[2:], given["stride"], strict=True)]
        wide = source.new_zeros((*source.shape[:2], *spread))
        spaces = [slice(None), slice(None), *(slice(None, None, step) for step in given["stride"])]
        wide[tuple(spaces)] = source
        sides = zip(kernel, given["dilation"], given["padding"], given["output_padding"], strict=True)
        amounts = [(d * (k - 1) - p, d * (k - 1) - p + extra) for k, d, p, extra in sides]
        padded = F.pad(wide, [amount for pair in reversed(amounts) for amount in pair])
        windows = _windows(padded, kernel, [1] * len(kernel), given["dilation"], picked)
        return _grouped(windows, given["groups"])

    def packed(self, change: Tensor, weight: Tensor, given: Arguments) -> Tensor:
        groups, _, outputs = change.shape
        places = change.reshape(groups, weight.shape[0] // groups, -1, outputs).flip(2)
        return places.transpose(2, 3).reshape(weight.shape)

    def fan_in(self, weight: Tensor, given: Arguments) -> int:
        return weight.shape[0] // given["groups"] * prod(weight.shape[2:])

    def outputs(self, weight: Tensor, given: Arguments) -> int:
        return weight.shape[1] * given["groups"]


def _batched(value: Tensor, given: Arguments) -> Tensor:
    return value if value.dim() == given["weight"].dim() else value.unsqueeze(0)


def _padding(kernel: list[int], given: Arguments) -> list[int]:
    """What is added before and after each dimension, the last one first, as `torch.nn.functional.pad` wants it."""
    padding = given["padding"]
    if padding == "valid":
        return []
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, given["dilation"], strict=True)]
        return [amount for total in reversed(totals) for amount in (total // 2, total - total // 2)]
    return [amount for amount in reversed(padding) for _ in range(2)]


def _windows(
    padded: Tensor, kernel: list[int], stride: list[int], dilation: list[int], picked: Tensor
) -> Tensor:
    """``[picked rows, channels, places of the kernel]`` of ``[batch, channels, *positions]``."""
    sizes = list(padded.shape[2:])
    counts = [
        (size - d * (k - 1) - 1) // s + 1
        for size, k, s, d in zip(sizes, kernel, stride, dilation, strict=True)
    ]
    example, left = picked // prod(counts), picked % prod(counts)
    start, offset = torch.zeros_like(picked), torch.zeros(1, dtype=torch.int64, device=picked.device)
    scale = 1
    for size, count, k, s, d in reversed(list(zip(sizes, counts, kernel, stride, dilation, strict=True))):
        start += left % count * s * scale
        left = left // count
        places = torch.arange(k, device=picked.device) * d * scale
        offset = (places[:, None] + offset).flatten()  # outer dimensions last joined, so they vary slowest
        scale *= size
    windows = padded.flatten(2)[example[:, None], :, start[:, None] + offset]
    return windows.transpose(1, 2)


def _grouped(windows: Tensor, groups: int) -> Tensor:
    return windows.unflatten(1, (groups, -1)).flatten(2).transpose(0, 1)


_KINDS = {"linear": Layer, "product": Layer, "convolution": _Convolution, "transposed": _Transposed}

LAYERS: dict[str, Layer] = {
    op: _KINDS[roles.kind](roles.source, roles.weight, roles.bias, outputs_first=roles.kind != "product")
    for op, roles in ROLES.items()
    if roles.kind in _KINDS and op not in ("aten.bmm", "aten.baddbmm")  # a weight of one matrix
}

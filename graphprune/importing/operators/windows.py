"""How windows lie over a tensor: paddings, strides and dilations of convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from graphprune.importing.node import Node

__all__ = ["Window", "padded", "window"]


@dataclass(frozen=True)
class Window:
    """Sizes by spatial dimension.

    Args:
        before, after: the paddings.
        by_size: whether they follow the tensor's size.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[Any, ...]
    after: tuple[Any, ...]
    by_size: bool = False

    @property
    def is_even(self) -> bool:
        """Whether as much is padded before as after, whatever the tensor's size is."""
        return not self.by_size and self.before == self.after


def window(node: Node, x: Tensor, kernel: Sequence[int]) -> Window:
    """The window of a node over ``x`` (batch, channels, *spatial)."""
    count = len(kernel)
    stride = tuple(node["strides"] or [1] * count)
    dilation = tuple(node["dilations"] or [1] * count)
    auto = node["auto_pad"] or "NOTSET"
    pads = tuple(node["pads"] or [0] * (2 * count)) if auto == "NOTSET" else (0,) * (2 * count)
    before, after = pads[:count], pads[count:]
    if auto.startswith("SAME"):
        totals = [_total(x.shape[2 + dim], kernel[dim], stride[dim], dilation[dim]) for dim in range(count)]
        less, more = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
        before, after = (less, more) if auto == "SAME_UPPER" else (more, less)
    by_size = auto.startswith("SAME") and any(step > 1 for step in stride)
    return Window(tuple(kernel), stride, dilation, before, after, by_size)


def _total(size: int, kernel: int, stride: int, dilation: int) -> int:
    """How much is padded so that there are as many windows as strides."""
    reach = (kernel - 1) * dilation + 1
    if stride == 1:
        return reach - 1
    steps = -(-size // stride)
    total = (steps - 1) * stride + reach - size
    return total if reach >= stride else max(total, 0)


def padded(x: Tensor, at: Window, value: float = 0.0) -> Tensor:
    """``x`` with its last dimensions padded."""
    if not at.by_size and not any((*at.before, *at.after)):
        return x
    pairs = [amount for pair in zip(reversed(at.before), reversed(at.after), strict=True) for amount in pair]
    return F.pad(x, pairs, value=value)

"""Convolutions with a kernel of their own for each example, which are written as groups: as many as the batch has."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from at_batches import right_at_batches
from black_box import reproducible, sizes  # noqa: F401  (one is a fixture)
from torch import Tensor, nn

IMAGE = torch.zeros(2, 3, 8, 8)


class PerExample(nn.Module):
    """A convolution of ``[batch, 8, 8, 8]`` with kernels that a function makes of the image."""

    def __init__(self, function: Callable[[PerExample, Tensor, Tensor], Tensor], width: int = 24) -> None:
        super().__init__()
        self.before = nn.Conv2d(3, 8, 1)
        self.kernels, self.styles, self.own = nn.Linear(3, 24 * 8 * 9), nn.Linear(3, 8), nn.Linear(3, 8 * 9)
        self.weight = nn.Parameter(torch.randn(24, 8, 3, 3))
        self.after, self.last = nn.Conv2d(width, 12, 1), nn.Conv2d(12, 5, 1)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        y = self.function(self, self.before(x), x.mean((2, 3)))
        return self.last(self.after(y).relu())


def _full(m: PerExample, y: Tensor, code: Tensor) -> Tensor:
    b, c, h, w = y.shape
    kernels = m.kernels(code).view(b * 24, c, 3, 3)
    return F.conv2d(y.reshape(1, b * c, h, w), kernels, padding=1, groups=b).view(b, 24, h, w)


def _inferred(m: PerExample, y: Tensor, code: Tensor) -> Tensor:
    kernels = m.kernels(code).view(-1, *y.shape[1:2], 3, 3)
    return F.conv2d(y.flatten(0, 1)[None], kernels, padding=1, groups=y.shape[0]).view(-1, 24, 8, 8)


def _transposed(m: PerExample, y: Tensor, code: Tensor) -> Tensor:
    b, c, h, w = y.shape
    kernels = m.kernels(code).view(b * c, 24, 3, 3)
    return F.conv_transpose2d(y.reshape(1, b * c, h, w), kernels, padding=1, groups=b).view(b, 24, h, w)


def _modulated(m: PerExample, y: Tensor, code: Tensor) -> Tensor:
    b, c, h, w = y.shape
    kernels = m.weight[None] * m.styles(code)[:, None, :, None, None]
    kernels = kernels * torch.rsqrt((kernels**2).sum((2, 3, 4), keepdim=True) + 1e-8)
    y = F.conv2d(y.reshape(1, b * c, h, w), kernels.view(b * 24, c, 3, 3), padding=1, groups=b)
    return y.view(b, 24, h, w)


def _depthwise(m: PerExample, y: Tensor, code: Tensor) -> Tensor:
    b, c, h, w = y.shape
    kernels = m.own(code).view(b * c, 1, 3, 3)
    return F.conv2d(y.reshape(1, b * c, h, w), kernels, padding=1, groups=b * c).view(b, c, h, w)


def _correlated(m: PerExample, y: Tensor, code: Tensor) -> Tensor:
    b, c, h, w = y.shape
    kernels = F.adaptive_avg_pool2d(y, 3).reshape(b * c, 1, 3, 3)
    return F.conv2d(y.reshape(1, b * c, h, w), kernels, padding=1, groups=b * c).view(b, c, h, w)


@pytest.mark.parametrize(
    ("function", "width", "found"),
    [
        (_full, 24, [8, 12, 24]),
        (_inferred, 24, [8, 12, 24]),
        (_transposed, 24, [8, 12, 24]),
        (_modulated, 24, [8, 12, 24]),
        (_depthwise, 8, [8, 12]),
        (_correlated, 8, [8, 12]),
    ],
)
def test_as_many_groups_as_examples(
    function: Callable[[PerExample, Tensor, Tensor], Tensor], width: int, found: list[int]
) -> None:
    result = right_at_batches(PerExample(function, width), IMAGE)
    assert sorted(sizes(result).values()) == found

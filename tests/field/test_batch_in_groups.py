"""The batch as a factor of a size: groups of a convolution, one for each example, and parts of what is folded."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from at_batches import right_at_batches
from black_box import reproducible, sizes  # noqa: F401  (one is a fixture)
from torch import Tensor, nn

import graphprune as gp
from graphprune.exporting.runtime import runner, session

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
    return F.conv2d(y.flatten(0, 1)[None], kernels, padding=1, groups=y.shape[0]).view(-1, 24, *y.shape[2:])


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


@pytest.mark.parametrize("function", [_full, _modulated])
def test_as_many_groups_as_examples_in_every_form(
    function: Callable[[PerExample, Tensor, Tensor], Tensor], tmp_path: Path
) -> None:
    """Read back from its folder, written as Python, and in onnxruntime."""
    model = PerExample(function)
    result = right_at_batches(model, IMAGE)
    result.save(tmp_path / "slim", latency=False)
    x = torch.randn(2, 3, 8, 8)
    (found,) = runner(session(tmp_path / "slim" / "model.onnx"), (x,), {})()  # groups are a constant in ONNX
    with torch.no_grad():
        torch.testing.assert_close(torch.as_tensor(found), result.model(x), rtol=1e-4, atol=1e-4)
    spec = importlib.util.spec_from_file_location("slim_model", tmp_path / "slim" / "model.py")
    assert spec
    assert spec.loader
    written = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(written)
    for other in (gp.load(tmp_path / "slim"), written.load()):
        for batch in (1, 3, 5):
            x = torch.randn(batch, 3, 8, 8)
            with torch.no_grad():
                torch.testing.assert_close(other(x), result.model(x))


def _halves(m: PerExample, y: Tensor, code: Tensor) -> Tensor:
    rows = y.flatten(0, 1)
    return torch.cat([rows, rows.relu()]).chunk(2)[1].view(y.shape)


def _thirds(m: PerExample, y: Tensor, code: Tensor) -> Tensor:
    rows = y.flatten(0, 1)
    return torch.cat([rows, rows.relu(), rows * 2]).tensor_split(3)[1].view(y.shape)


def _repeated(m: PerExample, y: Tensor, code: Tensor) -> Tensor:
    return y.flatten(0, 1).tile((2, 1, 1)).view(2, *y.shape).sum(0)


def _interleaved(m: PerExample, y: Tensor, code: Tensor) -> Tensor:
    return y.flatten(0, 1).repeat_interleave(2, 0).view(*y.shape[:2], 2, *y.shape[2:]).mean(2)


def _made(m: PerExample, y: Tensor, code: Tensor) -> Tensor:
    b, c, h, w = y.shape
    return (y.flatten(0, 1) * y.new_full((b * c, 1, w), 2.0) + torch.ones(b * c, h, 1)).view(y.shape)


@pytest.mark.parametrize("function", [_halves, _thirds, _repeated, _interleaved, _made])
def test_the_batch_folded_into_the_channels(function: Callable[[PerExample, Tensor, Tensor], Tensor]) -> None:
    result = right_at_batches(PerExample(function, 8), IMAGE)
    assert sorted(sizes(result).values()) == [8, 12]

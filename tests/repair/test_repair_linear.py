"""Every layer is the linear regression it is said to be: least squares on its rows finds its weight again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from graphprune.repair.linear import LINEAR


def transposed(x: Tensor, w: Tensor, **g: Any) -> Tensor:
    call = F.conv_transpose2d if w.dim() == 4 else F.conv_transpose1d
    return call(x, w, None, g["stride"], g["padding"], g["output_padding"], g["groups"], g["dilation"])


def conv(stride: Any, padding: Any, dilation: Any, groups: int = 1, **more: Any) -> dict[str, Any]:
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, **more}


# operator, how it is called, shapes of input and weight, its other arguments
CASES = {
    "linear": ("aten.linear", lambda x, w: F.linear(x, w), (5, 9, 4), (3, 4), {}),
    "addmm": ("aten.addmm", lambda x, w: x @ w, (20, 4), (4, 3), {}),
    "matmul": ("aten.matmul", lambda x, w: x @ w, (2, 3, 5, 4), (4, 3), {}),
    "conv": ("aten.conv2d", F.conv2d, (8, 4, 9, 8), (6, 4, 3, 2), conv([2, 1], [1, 2], [1, 2])),
    "same": ("aten.conv2d", F.conv2d, (8, 4, 9, 8), (6, 2, 4, 2), conv([1, 1], "same", [1, 2], 2)),
    "valid": ("aten.conv1d", F.conv1d, (6, 4, 30), (5, 4, 3), conv([3], "valid", [2])),
    "depthwise": ("aten.conv1d", F.conv1d, (4, 50), (4, 1, 3), conv([1], [1], [1], 4)),
    "conv3d": ("aten.conv3d", F.conv3d, (6, 2, 5, 6, 7), (4, 2, 3, 2, 3), conv([1, 1, 2], [1, 0, 1], [1, 2, 1])),
    "transposed": (
        "aten.conv_transpose2d", transposed, (8, 4, 7, 6), (4, 3, 3, 2),
        conv([2, 1], [1, 0], [1, 2], output_padding=[1, 0]),
    ),
    "transposed groups": (
        "aten.conv_transpose2d", transposed, (8, 4, 7, 6), (4, 3, 4, 4),
        conv([2, 2], [1, 1], [1, 1], 2, output_padding=[0, 0]),
    ),
    "transposed, cropped": (
        "aten.conv_transpose1d", transposed, (30, 3, 7), (3, 2, 2), conv([1], [2], [1], output_padding=[0]),
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", CASES)
def test_least_squares_finds_the_weight(name: str) -> None:
    torch.manual_seed(0)
    op, call, shape, weight_shape, given = CASES[name]
    x, w = (torch.randn(*size, dtype=torch.float64) for size in (shape, weight_shape))
    layer, bound = LINEAR[op], {"weight": w, "input": x, **given}
    y = call(x, w, **given)
    rows = y.numel() // layer.outputs(w, bound)
    picked = torch.randperm(rows)[: max(rows * 3 // 4, 1)]
    regressors = layer.regressors(x, w, bound, picked)
    targets = layer.targets(layer.rows(y, bound, picked), bound)
    assert regressors.shape[1:] == (len(picked), layer.fan_in(w, bound))
    slope = torch.linalg.lstsq(regressors, targets).solution
    # least squares by QR is off by eps times the condition, times a number that grows slowly with the size
    limit = 100 * torch.finfo(torch.float64).eps * float(torch.linalg.cond(regressors).max() * w.abs().max())
    torch.testing.assert_close(layer.packed(slope, w, bound), w, rtol=0, atol=limit)

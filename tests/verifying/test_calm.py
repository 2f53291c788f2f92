"""Random values on which a right file is not called wrong: rounding must not grow to the size of an error."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from graphprune.verifying import Lively, calm
from models_zoo.sources import torchvision_model


def moved(module: nn.Module, values: Lively, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        one, other = (functional_call(module, {n: values[n] for n in values.own}, each) for each in (x, y))
    return float((one - other).abs().max() / one.abs().max())


def test_chaotic_networks_get_smaller_values() -> None:
    module, _, _ = torchvision_model("efficientnet_b0", pretrained=False)
    module.eval()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    values = calm(module, ((x,), {}), 0)
    assert values.gain < Lively(module, 0).gain
    shaken = x * (1 + 1e-6 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)))
    assert moved(module, values, x, shaken) < moved(module, Lively(module, 0), x, shaken) / 10
    # and the input still tells in the output
    assert moved(module, values, x, x.flip(0)) > 1e-3


@pytest.mark.parametrize(
    ("module", "example"),
    [
        (nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), torch.randn(2, 4)),
        (nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 3)), torch.tensor([[1, 5, 2]])),
        (nn.Flatten(), torch.randn(2, 3, 4)),
        (nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3)).double(), torch.randn(2, 4).double()),
    ],
    ids=["floats", "tokens", "no parameters", "double"],
)
def test_others_keep_the_liveliest(module: nn.Module, example: Any) -> None:
    assert calm(module, ((example,), {}), 0).gain == 1.5

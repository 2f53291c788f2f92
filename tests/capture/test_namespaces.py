"""Sizes are followed through helpers in other modules, base classes and names imported from `math`."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import graphprune as gp

HELPERS = "def whole(number):\n    return int(number)\n"
BASE = """
from math import sqrt
from torch import nn
from size_helpers import whole

class Grid(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 4)

    def forward(self, x):
        y = self.a(x).relu()
        half = whole(y.shape[1] / 2)
        return self.b(y.reshape(y.shape[0], half, 2, -1)) * sqrt(half)
"""


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    (tmp_path / "size_helpers.py").write_text(HELPERS)
    (tmp_path / "size_base.py").write_text(BASE)
    monkeypatch.syspath_prepend(tmp_path)
    base = importlib.import_module("size_base").Grid

    class Mine(base):  # type: ignore[misc]
        pass

    model: nn.Module = Mine()
    return model


def test_int_and_sqrt_of_other_modules_are_followed(grid: nn.Module) -> None:
    result = gp.shrink(grid, torch.randn(2, 16, 6), ratio=0.5, importance="random")
    for tokens in (4, 14):
        x = torch.randn(3, tokens, 6)
        assert result.model(x).shape == grid(x).shape
    kept = result.plan.kept["a.weight"][0]
    y = (x @ grid.a.weight[kept].T + grid.a.bias[kept]).relu() @ grid.b.weight[:, kept].T + grid.b.bias
    torch.testing.assert_close(result.model(x), y.reshape(3, 7, 2, 4) * math.sqrt(7))


def test_the_modules_are_as_they_were(grid: nn.Module) -> None:
    helpers, base = importlib.import_module("size_helpers"), importlib.import_module("size_base")
    before = dict(vars(helpers)), dict(vars(base))
    gp.trace(grid, torch.randn(2, 16, 6))
    assert (dict(vars(helpers)), dict(vars(base))) == before

"""``squeeze()`` without a dimension: where the batch is one, it goes too, in the original as in the slim model."""

from __future__ import annotations

import pytest
import torch
from black_box import zeroed
from torch import Tensor, nn

import graphprune as gp


class Regressor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu()).squeeze().sigmoid()


class Pooled(nn.Module):
    """What is squeezed has units that go, in a dimension that moves where the batch is dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x).relu()).mean((2, 3), keepdim=True).squeeze())


@pytest.mark.parametrize("captured", [1, 2])
@pytest.mark.parametrize(("kind", "shape"), [(Regressor, (8,)), (Pooled, (3, 8, 8))])
def test_any_batch_gives_the_originals_dimensions(
    kind: type[nn.Module], shape: tuple[int, ...], captured: int
) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    result = gp.shrink(model, torch.randn(captured, *shape), ratio=0.5)
    assert result.verdict.passed
    masked = zeroed(model, result.plan.kept)
    for batch in (1, 2, 5):
        x = torch.randn(batch, *shape)
        found, expected = result.model(x), masked(x)
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected)

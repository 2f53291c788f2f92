"""The order and the errors of removals one after the other, against the same removals written out plainly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from graphprune.scoring.elimination import BLOCK, elimination_errors, regularised

F64 = torch.float64


def plainly(moments: Tensor, weights: Tensor, ridge: float) -> Tensor:
    """Every removal updates the whole inverse and all weights."""
    inverse, weights = torch.linalg.inv(regularised(moments, ridge)), weights.clone()
    left, errors, total = list(range(len(moments))), torch.zeros(len(moments), dtype=F64), 0.0
    while left:
        prices = weights[left].square().sum(1) / inverse.diagonal()[left]
        unit = left.pop(int(prices.argmin()))
        total += float(prices.min())
        errors[unit] = total
        column = inverse[:, unit] / inverse[unit, unit]
        weights = weights - column[:, None] * weights[unit]
        inverse = inverse - column[:, None] * inverse[unit]
    return errors


def activations(units: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(units)
    mixed = torch.eye(units, dtype=F64) + 0.2 * torch.randn(units, units, generator=generator, dtype=F64)
    return (torch.randn(count, units, generator=generator, dtype=F64) @ mixed).relu()


@pytest.mark.parametrize("outputs", [3, 40, 500])
@pytest.mark.parametrize("units", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
@pytest.mark.parametrize("ridge", [1e-6, 0.1])
def test_errors_are_those_of_plain_updates(units: int, outputs: int, ridge: float) -> None:
    """In float64; the condition of the moments, up to 1e5 here, times its rounding."""
    x = activations(units, 4 * units + 20)
    weights = torch.randn(units, outputs, generator=torch.Generator().manual_seed(1), dtype=F64)
    moments = x.T @ x / len(x)
    found, expected = elimination_errors(moments, weights, ridge), plainly(moments, weights, ridge)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0.0)
    assert torch.equal(found.argsort(), expected.argsort())


def test_few_positions_copies_and_dead_units() -> None:
    """Singular moments, so that rounding counts 1e6 times; where prices are nothing but ridge it orders them, too."""
    x = activations(200, 150)
    weights = torch.randn(200, 7, generator=torch.Generator().manual_seed(1), dtype=F64)
    x[:, 10:60] = x[:, 100:150]
    weights[10:20] = -weights[100:110]
    x[:, 180], weights[190:] = 0.0, 0.0
    moments = x.T @ x / len(x)
    found, expected = elimination_errors(moments, weights), plainly(moments, weights, 1e-6)
    torch.testing.assert_close(
        found.sort().values, expected.sort().values, rtol=1e-6, atol=1e-6 * float(found.max())
    )
    # in the end everything is gone
    whole = (weights * (regularised(moments, 1e-6) @ weights)).sum()
    torch.testing.assert_close(found.max(), whole, rtol=1e-8, atol=0.0)
    assert set(found.argsort()[:80].tolist()) >= {180, *range(190, 200)}

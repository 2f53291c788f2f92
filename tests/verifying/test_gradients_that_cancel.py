"""A gradient that cancels to zero is rounding, also where a change of the parameters happens to round alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.verifying.backward import compared


def check(given: float) -> bool:
    program = gp.trace(nn.Sequential(nn.Linear(2, 2)), torch.randn(1, 2)).program
    expected = {"weight": torch.tensor([1.0, 3.0]), "bias": torch.tensor([2e-17])}
    found: dict[str, Tensor] = {**expected, "bias": torch.tensor([given])}
    return compared("gradients", program, expected, found, lambda part: found, 1e-10).passed


def test_what_is_nothing_beside_the_largest_gradient_is_rounding() -> None:
    assert check(-2e-17)


def test_what_is_something_beside_it_is_not() -> None:
    assert not check(-2e-12)

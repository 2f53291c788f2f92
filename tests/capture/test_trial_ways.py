"""A model is tried the way that torch.export takes, and nothing of a run without data is left behind."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.capture.varying import least_multiple


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 12), nn.Linear(12, 6)

    def forward(self, x: Tensor) -> Any:
        return self.down(self.up(x).relu())


@functools.lru_cache(maxsize=8)
def kept_positions(length: int) -> Tensor:
    return torch.arange(length, dtype=torch.float32)


class Keeping(Small):
    """Keeps what it computes beyond the module, as transformers does, unless it is compiled."""

    def forward(self, x: Tensor) -> Any:
        length = x.shape[1]
        compiled = torch.compiler.is_compiling()
        positions = torch.arange(length, dtype=x.dtype) if compiled else kept_positions(length)
        return super().forward(x + positions[:, None])


class OnlyOnDevices(Small):
    """An operator that has no way to compute shapes on the meta device, and says nothing of it."""

    def forward(self, x: Tensor) -> Any:
        if x.device.type not in ("cpu", "cuda"):
            raise ValueError(f"no kernel for {x.dtype}")
        return super().forward(x)


def test_nothing_is_kept_of_a_run_without_data() -> None:
    kept_positions.cache_clear()
    model, x = Keeping().eval(), torch.randn(2, 8, 6)
    program = gp.trace(model, x).program
    assert program.sizes == {"batch": 2, "sequence": 8}
    for length in (8, 4, 11):
        assert model(x.repeat(1, 2, 1)[:, :length]).device.type == "cpu"


def test_a_model_that_fails_on_the_meta_device_is_tried_on_others() -> None:
    result = gp.shrink(OnlyOnDevices().eval(), torch.randn(2, 8, 6), ratio=0.5)
    assert result.graph.program.sizes == {"batch": 2, "sequence": 8}
    assert result.model(torch.randn(3, 5, 6)).shape == (3, 5, 6)


def test_the_least_multiple_is_found() -> None:
    assert least_multiple(224, lambda size: size % 32 == 0) == 32
    assert least_multiple(96, lambda size: size % 6 == 0) == 6
    assert least_multiple(12, lambda size: True) == 1
    assert least_multiple(12, lambda size: size == 12) == 0


@pytest.mark.parametrize("least", [8, 32])
def test_sizes_of_two_images_are_one_multiple(least: int) -> None:
    """Also where the example is the smallest at which the model runs."""

    class Stereo(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(16, 4, 1)

        def forward(self, one: Tensor, two: Tensor) -> Tensor:
            if one.shape[2] < least or one.shape != two.shape or one.shape[2] % 8 or one.shape[3] % 4:
                raise ValueError("of one size, and multiples")
            return self.b(torch.cat([self.a(one).relu(), self.a(two).relu()], 1))

    program = gp.trace(Stereo().eval(), (torch.randn(2, 3, 32, 24), torch.randn(2, 3, 32, 24))).program
    assert program.sizes == {"batch": 2, "height": 32, "width": 24}
    multiples = {dimension.name: dimension.multiple for dimension in program.dimensions}
    assert multiples == {"batch": 1, "": 1, "height": 8, "width": 4}


@pytest.mark.parametrize("in_loop", [False, True])
def test_one_way_on_one_side_alone_is_not_taken_for_another_at_all_sizes(in_loop: bool) -> None:
    """From 8 to 15 the size has four bits; beyond them no decision that can be followed falls otherwise."""

    class Bits(Small):
        def forward(self, x: Tensor) -> Any:
            bits = x.shape[1].bit_length()
            for _ in range(bits if in_loop else 0):
                x = x * 0.5
            return super().forward(x * bits)

    sequence = gp.trace(Bits().eval(), torch.randn(2, 8, 6)).program.dimensions[1]
    assert not sequence.name
    assert "cannot be followed" in sequence.reason

"""Autocast inside forward is left out and said, and a caller's own autocast disturbs nothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from black_box import difference, reproducible, zeroed  # noqa: F401  (one is a fixture)
from torch import Tensor, nn

import graphprune as gp

ROWS = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))


class Inside(nn.Module):
    """The first layers in bfloat16, the last one in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.o = nn.Linear(16, 32), nn.Linear(32, 24), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = self.b(F.relu(self.a(x)))
        return self.o(y.float())


class Decorated(Inside):
    @torch.autocast("cpu", dtype=torch.bfloat16)
    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.b(F.relu(self.a(x))))


@pytest.mark.parametrize("build", [Inside, Decorated])
def test_autocast_inside_forward(build: type[nn.Module]) -> None:
    model = build()
    result = gp.shrink(model, ROWS, ratio=0.5, importance="random")
    assert result.verdict.passed
    (note,) = [note for note in result.graph.program.notes if "autocast" in note]
    assert note.startswith("autocast inside forward (bfloat16 on cpu) is left out")
    expected = zeroed(model, result.plan.kept)
    with torch.no_grad():
        for x in (ROWS, ROWS[:1], ROWS.repeat(3, 1)):
            hidden = F.relu(F.linear(x, expected.a.weight, expected.a.bias))
            wide = F.linear(
                F.linear(hidden, expected.b.weight, expected.b.bias), expected.o.weight, expected.o.bias
            )
            assert result.model(x).dtype is torch.float32
            assert difference(wide, result.model(x)) < 1e-5
            assert difference(expected(x).float(), result.model(x)) < 3e-2  # as coarse as bfloat16
    assert [type(layer) for layer in (result.model.a, result.model.b, result.model.o)] == [nn.Linear] * 3


def test_the_model_keeps_its_autocast() -> None:
    model = Inside()
    before = model(ROWS)
    gp.trace(model, ROWS)
    assert torch.equal(model(ROWS), before)
    wide = model.o(model.b(model.a(ROWS).relu()))
    assert difference(wide, before) > 1e-4  # it did cast


def test_autocast_that_is_disabled_is_not_noted() -> None:
    class Off(Inside):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", enabled=False):
                return self.o(self.b(F.relu(self.a(x))))

    assert not gp.shrink(Off(), ROWS, ratio=0.5).graph.program.notes


def test_a_caller_under_autocast() -> None:
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    alone = gp.shrink(model, ROWS, ratio=0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = gp.shrink(model, ROWS, ratio=0.5)
        assert torch.is_autocast_enabled("cpu")
    assert result.verdict.passed
    assert not result.graph.program.notes
    assert torch.equal(result.model(ROWS), alone.model(ROWS))


def test_what_only_autocast_makes_fit_is_refused_with_the_remedy() -> None:
    with pytest.raises(
        gp.InputError, match=r"one dtype, as model.float\(\) does: forward runs without its autocast"
    ):
        gp.shrink(Decorated().bfloat16(), ROWS, ratio=0.5)

"""Cuts and places along a dimension of which one part varies and another is pruned: ``(channels + steps)``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from at_batches import right_in_onnx
from black_box import difference, randomise, reproducible, sizes, zeroed  # noqa: F401  (one is a fixture)
from torch import Tensor, nn

import graphprune as gp

Parts = tuple[Tensor, Tensor]


class Tokens(nn.Module):
    """The channels of ``z`` as tokens before those of ``x``, mixed, and cut into the two again by a function."""

    def __init__(self, cut: Callable[[Tensor, int], Parts]) -> None:
        super().__init__()
        self.t, self.c, self.mix = nn.Linear(6, 8), nn.Linear(6, 24), nn.Linear(8, 8)
        self.steps, self.channels = nn.Linear(8, 5), nn.Linear(24, 5)
        self.cut = cut

    def forward(self, x: Tensor, z: Tensor) -> Parts:
        channels = self.c(z).transpose(1, 2)
        one, other = self.cut(self.mix(torch.cat([channels, self.t(x)], 1)), channels.shape[1])
        return self.channels(one.transpose(1, 2)), self.steps(other)


def _thirds(y: Tensor, c: int) -> Parts:
    a, b, rest = y.tensor_split((c // 2, c), 1)
    return torch.cat([a, b.tanh()], 1), rest


CUTS: dict[str, Callable[[Tensor, int], Parts]] = {
    "split by a size": lambda y, c: y.split(c, 1),
    "split at a place": lambda y, c: y.tensor_split([c], 1),
    "split at two places": _thirds,
    "slices": lambda y, c: (y[:, :c], y[:, c:]),
    "narrow": lambda y, c: (y.narrow(1, 0, c), y[:, c:]),
    "the last one": lambda y, c: (y[:, :c], y[:, c:] + y[:, -1:]),
    "the last one, selected": lambda y, c: (y[:, :c], y[:, c:] + y[:, -1][:, None]),
    "the first one of the steps": lambda y, c: (y[:, :c], y[:, c:] + y[:, c][:, None]),
    "padded behind": lambda y, c: (
        nn.functional.pad(y, (0, 0, 0, 3))[:, :c],
        nn.functional.pad(y, (0, 0, 0, 3))[:, c:-3],
    ),
}
EXAMPLE = (torch.randn(2, 7, 6), torch.randn(2, 8, 6))


@pytest.mark.parametrize("label", CUTS)
def test_parts_of_a_size_that_varies(label: str) -> None:
    model = randomise(Tokens(CUTS[label]))
    result = gp.shrink(model, EXAMPLE, ratio=0.5, importance="random")
    assert sum(sizes(result).values()) == 24
    assert {"batch", "sequence"} <= set(result.graph.program.sizes)
    expected = zeroed(model, result.plan.kept)
    for batch, steps in ((1, 7), (3, 5), (2, 11), (4, 1)):
        call = torch.randn(batch, steps, 6), torch.randn(batch, 8, 6)
        with torch.no_grad():
            assert difference(expected(*call), result.model(*call)) < 1e-5


def test_in_onnx(tmp_path: Path) -> None:
    model = randomise(Tokens(CUTS["split at two places"]))
    result = gp.shrink(model, EXAMPLE, ratio=0.5, importance="random")
    right_in_onnx(model, EXAMPLE, result, tmp_path / "slim")


def _rows(y: Tensor) -> Tensor:
    return y.transpose(0, 1).flatten(0, 1)


@pytest.mark.parametrize(
    "function",
    [
        lambda y: _rows(y).select(0, 0) + y,
        lambda y: y - y[:1] + y.reshape(-1, 4)[:1],
    ],
)
def test_a_cut_between_examples_pins(function: Callable[[Tensor], Tensor]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.o = nn.Linear(6, 12), nn.Linear(12, 4), nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.o(function(self.b(self.a(x).relu())))

    model = randomise(Net())
    result = gp.shrink(model, torch.randn(2, 6), ratio=0.5, importance="random")
    assert "a.weight:0" in result.plan.sizes
    expected = zeroed(model, result.plan.kept)
    for batch in (1, 3, 5):
        x = torch.randn(batch, 6)
        with torch.no_grad():
            assert difference(expected(x), result.model(x)) < 1e-5

"""What an input is follows from what reads it, whatever its name and its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphprune.capture import capture
from graphprune.synthetic.reading import Input, read_inputs


class Net(nn.Module):
    """Whatever ``forward`` is given, with the layers that it calls."""

    def __init__(self, forward: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.run = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self.layers, x)


def table(rows: int, width: int = 8) -> nn.Embedding:
    return nn.Embedding(rows, width)


CASES: dict[str, tuple[nn.Module, Tensor, Input]] = {
    "image": (
        Net(lambda m, x: m["c"](2 * x - 1), c=nn.Conv2d(3, 8, 3)),
        torch.rand(2, 3, 16, 20),
        Input("x", "image", 1, (2, 3)),
    ),
    "image, channels last": (
        Net(lambda m, x: m["c"](x.permute(0, 3, 1, 2)), c=nn.Conv2d(3, 8, 3)),
        torch.rand(2, 16, 20, 3),
        Input("x", "image", 3, (1, 2)),
    ),
    "volume": (
        Net(lambda m, x: m["c"](x), c=nn.Conv3d(1, 4, 3)),
        torch.rand(2, 1, 6, 8, 10),
        Input("x", "volume", 1, (2, 3, 4)),
    ),
    "sound without channels": (
        Net(lambda m, x: m["c"](x[:, None, :, None]), c=nn.Conv2d(1, 4, (16, 1))),
        torch.randn(2, 64),
        Input("x", "series", None, (1,)),
    ),
    "series of tokens": (
        Net(lambda m, x: m["l"](x), l=nn.Linear(7, 16)),
        torch.randn(2, 50, 7),
        Input("x", "series", 2, (1,)),
    ),
    "points": (
        Net(lambda m, x: m["c"](x).amax(-1), c=nn.Conv1d(3, 16, 1)),
        torch.randn(2, 3, 40),
        Input("x", "points", 1, (2,)),
    ),
    "features": (
        Net(lambda m, x: m["l"](x), l=nn.Linear(12, 16)),
        torch.randn(2, 12),
        Input("x", "features", 1, ()),
    ),
    "tokens": (
        Net(lambda m, x: m["e"](x).mean(1) + m["p"](x % 9).mean(1), e=table(100), p=table(9)),
        torch.zeros(2, 12, dtype=torch.long),
        Input("x", "tokens", rows=100),
    ),
    "sorts of tokens": (
        Net(lambda m, x: m["e"](x).mean(1), e=table(2)),
        torch.zeros(2, 12, dtype=torch.long),
        Input("x", "as given"),
    ),
    "a mask": (
        Net(lambda m, x: m["l"](x.bool().float() * 1.0), l=nn.Linear(12, 3)),
        torch.ones(2, 12, dtype=torch.long),
        Input("x", "as given"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_kinds(name: str) -> None:
    model, example, expected = CASES[name]
    assert read_inputs(capture(model.eval(), example)) == [expected]


def test_numbers_and_none_stay_what_they_are() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor, scale: float = 2.0, mask: Any = None) -> Tensor:
            return self.layer(x) * scale

    found = read_inputs(capture(Scaled().eval(), (torch.zeros(2, 4), 3.0, None)))
    assert [one.kind for one in found] == ["features", "as given", "as given"]

"""A prime for the batch: which models get a dynamic batch from it, and which are captured as they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.capture import capture
from graphprune.capture.raising import raise_program

Forward = Callable[[nn.Module, Tensor], Tensor]


class Net(nn.Module):
    """Two layers around what a function does with the batch."""

    def __init__(self, function: Forward, width: int = 6) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 8), nn.Linear(8, 4)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.function(self, self.up(x)))


DYNAMIC: dict[str, Forward] = {
    "literal of the batch": lambda m, x: x.reshape(x.shape[0] * 2, 4).relu().reshape(x.shape[0], 8),
    "truncated quotient": lambda m, x: x.reshape(x.shape[0] * 4, 2).reshape(int(x.shape[0] * 8 / 4 / 2), 8),
    "batch of positions": lambda m, x: x + torch.arange(x.shape[0]).float()[:, None],
    "division by the batch": lambda m, x: x - x.sum(0, keepdim=True) / x.shape[0],
    "made as large": lambda m, x: torch.cat([x, torch.zeros(x.shape[0], 8)], 0)[: x.shape[0]],
    "rows counted twice": lambda m, x: torch.stack([x, x]).flatten(0, 1).view(2, x.shape[0], 8).sum(0),
    "one row more": lambda m, x: torch.cat([x, x[:1]])[1:],
    "half of the rows": lambda m, x: torch.cat([x[: x.shape[0] // 2], x[x.shape[0] // 2 :].relu()]),
    "batch as a tensor": lambda m, x: x * torch.tensor(x.shape[0]),
}

STATIC: dict[str, Forward] = {
    "groups of rows": lambda m, x: x.reshape(-1, 2, 8).flip(1).reshape(-1, 8),
    "a table of the batch": lambda m, x: x * [1.0, 2.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 17.0][x.shape[0]],
}


@pytest.mark.parametrize("label", DYNAMIC)
def test_batch_stays_open(label: str) -> None:
    torch.manual_seed(0)
    model = Net(DYNAMIC[label]).eval()
    program = capture(model, torch.zeros(2, 6))
    assert program.dynamic_batch
    assert not program.notes
    for batch in (1, 2, 5):
        x = torch.randn(batch, 6)
        torch.testing.assert_close(raise_program(program)(x), model(x))


@pytest.mark.parametrize("label", STATIC)
def test_batch_is_fixed_and_said_so(label: str) -> None:
    torch.manual_seed(0)
    model = Net(STATIC[label]).eval()
    result = gp.shrink(model, torch.zeros(4, 6), ratio=0.5)
    assert not result.graph.program.dynamic_batch
    assert result.graph.program.notes[0].startswith("captured for this batch size only")
    x = torch.randn(4, 6)
    torch.testing.assert_close(raise_program(result.graph.program)(x), model(x))


def test_a_width_that_is_the_first_prime_is_not_the_batch() -> None:
    program = capture(Net(lambda m, x: x.relu(), 1009), torch.zeros(2, 1009))
    assert program.batch_primes == (1013,)
    assert program.values["x"].shape == (1013, 1009)


def test_a_model_that_decides_on_the_batch_size_refuses_the_other_side() -> None:
    model = Net(lambda m, x: x.tanh() if x.shape[0] == 1 else x)
    result = gp.shrink(model, torch.zeros(2, 6), ratio=0.5)
    assert result.model(torch.zeros(3, 6)).shape == (3, 4)
    with pytest.raises(gp.InputError, match=r"x\[0\] != 1 \(test_capture_batch.py"):
        result.model(torch.zeros(1, 6))


def test_the_comparison_gives_the_model_its_tensors_back() -> None:
    model = Net(lambda m, x: m.again(m.norm(x)))
    model.norm = model.again = nn.BatchNorm1d(8)
    before = {name: (tensor, tensor.clone()) for name, tensor in model.state_dict(keep_vars=True).items()}
    assert gp.shrink(model, torch.zeros(2, 6), ratio=0.5).verdict.passed
    for name, tensor in model.state_dict(keep_vars=True).items():
        assert tensor is before[name][0]
        assert torch.equal(tensor, before[name][1])

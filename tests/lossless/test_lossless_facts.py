"""Known elements are the same for every input, and what must be known is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphprune.capture import capture
from graphprune.lossless.facts import Fact, interpret
from graphprune.lossless.transfer import transfer

ODD = torch.tensor([0.0, 1, 0, 1]).view(4, 1, 1)  # the constant channels
Function = Callable[[Tensor, Tensor], Tensor]


class Partly(nn.Module):
    """``function`` of a tensor (2, 4, 6, 6) whose channels 1 and 3 are constant, the latter zero, and of weights."""

    def __init__(self, function: Function, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.scale, self.shift = nn.Parameter(torch.ones(4, 1, 1)), nn.Parameter(torch.zeros(4, 1, 1))
        self.weight = nn.Parameter(torch.randn(shape))
        with torch.no_grad():
            self.scale[[1, 3]] = 0
            self.shift[1] = 0.5

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x * self.scale + self.shift, self.weight)


def facts_of(model: nn.Module, x: Tensor) -> Fact:
    """What is known of the model's output when its example is ``x``."""
    program = capture(model, x)
    values = interpret(program, program.tensors, transfer).values
    return values[program.output_names[0]]


# the function, the shape of its weight, and the share of its results that is known
CASES: dict[str, tuple[Function, tuple[int, ...], float]] = {
    "relu": (lambda x, w: torch.relu(x), (1,), 1 / 2),
    "add": (lambda x, w: x + w, (4, 1, 1), 1 / 2),
    "add of neighbours": (lambda x, w: x + x.roll(1, 1), (1,), 0),
    "product": (lambda x, w: x * x.flip(1), (1,), 1 / 2),
    "division": (lambda x, w: x / (1 + x.abs()), (1,), 1 / 2),
    "cat": (lambda x, w: torch.cat([x, torch.zeros_like(x)], 1), (1,), 3 / 4),
    "permute and reshape": (lambda x, w: x.permute(0, 2, 3, 1).reshape(x.shape[0], -1), (1,), 1 / 2),
    "chunk": (lambda x, w: x.chunk(2, 1)[1], (1,), 1 / 2),
    "slice": (lambda x, w: x[:, 1::2], (1,), 1),
    "pad": (lambda x, w: F.pad(x, (2, 0, 2, 1), value=3.0), (1,), 1 - 36 / 72 / 2),
    "max pool": (lambda x, w: F.max_pool2d(x, 2), (1,), 1 / 2),
    "average pool": (lambda x, w: F.avg_pool2d(x, 3, padding=1), (1,), 1 / 2),
    "pooled to one": (lambda x, w: F.adaptive_avg_pool2d(x, 1), (1,), 1 / 2),
    "nearest": (lambda x, w: F.interpolate(x, scale_factor=2), (1,), 1 / 2),
    "mean over positions": (lambda x, w: x.mean((2, 3)), (1,), 1 / 2),
    "mean over channels": (lambda x, w: x.mean(1), (1,), 0),
    "sum of constant channels": (lambda x, w: x[:, [1, 3]].sum(1, keepdim=True), (1,), 1),
    "softmax over positions": (lambda x, w: x.flatten(2).softmax(-1), (1,), 1 / 2),
    "layer norm over positions": (lambda x, w: F.layer_norm(x, (6, 6)), (1,), 1 / 2),
    "layer norm over channels": (lambda x, w: F.layer_norm(x.mT.flatten(2).mT, (4,)), (1,), 0),
    "convolution": (lambda x, w: F.conv2d(x, w, padding=1), (3, 4, 3, 3), 0),
    "convolution of constants": (
        lambda x, w: F.conv2d(x, w * ODD),
        (3, 4, 3, 3),
        1,
    ),
    "depthwise": (lambda x, w: F.conv2d(x, w, padding=1, groups=4), (4, 1, 3, 3), 1 / 2),
    "transposed": (lambda x, w: F.conv_transpose2d(x, w, groups=4), (4, 1, 2, 2), 1 / 2),
    "linear along positions": (lambda x, w: F.linear(x, w), (5, 6), 1 / 2),
    "linear along channels": (lambda x, w: F.linear(x.permute(0, 2, 3, 1), w), (5, 4), 0),
    "matmul": (lambda x, w: x.flatten(2) @ x.flatten(2).mT, (1,), 1 / 2),
    "einsum": (lambda x, w: torch.einsum("bchw,co->bchwo", x, w), (4, 2), 1 / 2),
    "one of two results": (lambda x, w: torch.frexp(x)[0], (1,), 1 / 2),
    "a quarter turn": (lambda x, w: torch.rot90(x, 1, [1, 2]), (1,), 1 / 2),
    "rolled channels": (lambda x, w: x.roll(1, 1), (1,), 1 / 2),
    "attention": (lambda x, w: F.scaled_dot_product_attention(*[x.flatten(2).mT] * 3), (1,), 1 / 4),
    "an operator without a row": (lambda x, w: torch.cumsum(x, 1), (1,), 0),
}


@pytest.mark.parametrize("label", CASES)
def test_known_is_known_for_every_input(label: str) -> None:
    function, shape, share = CASES[label]
    torch.manual_seed(0)
    model = Partly(function, shape).eval()
    first, second = (facts_of(model, torch.randn(2, 4, 6, 6)) for _ in range(2))
    assert torch.equal(first.known, second.known)
    assert torch.allclose(first.value[first.known], second.value[first.known], rtol=1e-12, atol=1e-14)
    assert float(first.known.double().mean()) == pytest.approx(share)
    # what is said to be unknown does vary, up to a ReLU of two negative numbers
    if share < 1:
        assert (first.value != second.value)[~first.known].double().mean() > 0.6


def test_zero_rows_and_zero_scales_are_seen_through_a_normed_convolution() -> None:
    layers = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.SiLU()).eval()
    with torch.no_grad():
        layers[0].weight[0] = 0
        layers[1].weight[2] = 0
        layers[1].bias[2] = 1.5
    fact = facts_of(layers, torch.randn(1, 2, 5, 5))
    assert fact.known.flatten(2).all(2).tolist() == [[True, False, True, False]]
    assert not fact.known[0, 1].any()
    assert fact.value[0, 2].unique().tolist() == pytest.approx([float(F.silu(torch.tensor(1.5)))])


def test_an_embedding_knows_columns_that_are_the_same_in_all_rows() -> None:
    table = nn.Embedding(10, 6)
    with torch.no_grad():
        table.weight[:, 2] = 0.25
        table.weight[1:, 3] = 0.25
    fact = facts_of(table, torch.tensor([[1, 2, 3]]))
    assert fact.known[0, 0].tolist() == [False, False, True, False, False, False]


def test_the_batch_size_is_no_constant() -> None:
    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros_like(x) + x.shape[0]

    assert not facts_of(Counting(), torch.randn(2, 3)).known.any()

"""Views and writes in place: the program gives what eager PyTorch gives, whoever shares memory with whom."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from graphprune.capture import capture, run
from graphprune.capture.memory import Memory
from graphprune.capture.simplify import relax_views

_aten = torch.ops.aten

VIEWS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda y: y.view(y.shape[0], -1),
    lambda y: y.view(y.shape[0], 2, -1),
    lambda y: y.reshape(y.shape[0], 2, -1),
    lambda y: y.flatten(1),
    lambda y: y.transpose(1, -1),
    lambda y: y.transpose(1, -1).contiguous(),
    lambda y: torch.einsum("b...c->b...c", y),
    lambda y: y.unsafe_chunk(2, 1)[1],
    lambda y: y[:, 1:],
    lambda y: y[:, 0][:, None],
    lambda y: y.clone(),
    lambda y: y * 2,
)
WRITES: tuple[Callable[[Tensor], object], ...] = (
    lambda y: y.relu_(),
    lambda y: y.add_(1),
    lambda y: y[:, :1].fill_(0.5),
    lambda y: y.mul_(y.mean()),
)


class Drawn(nn.Module):
    """A random sequence of views and writes on a few tensors, all of which are read in the end."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.up = nn.Linear(6, 8)
        self.seed = seed

    def forward(self, x: Tensor) -> Tensor:
        draw = random.Random(self.seed)
        known = [self.up(x)]
        for _ in range(draw.randint(3, 9)):
            y = draw.choice(known[-3:])
            if draw.random() < 0.4:
                draw.choice(WRITES)(y)
            elif y[0].numel() > 1 and y.shape[1] > 1:
                known.append(draw.choice(VIEWS)(y))
        read = draw.sample(known, draw.randint(1, len(known)))
        return torch.cat([y.flatten(1) for y in read], 1)


@pytest.mark.parametrize("seed", range(30))
def test_random_views_and_writes(seed: int) -> None:
    torch.manual_seed(seed)
    model = Drawn(seed).eval()
    try:
        model(torch.randn(1009, 6))
    except RuntimeError:
        pytest.skip("a view that eager PyTorch does not give")
    program = capture(model, torch.zeros(2, 6))
    for batch in (1, 2, 5):
        x = torch.randn(batch, 6)
        with torch.no_grad():
            (given,) = run(program.graph, program.tensors, [x])
            torch.testing.assert_close(given, model(x))


def _dropped(y: Tensor) -> Tensor:
    z = F.dropout(y, 0.5, False)
    z.relu_()
    return y + z


def _read_through_a_view(y: Tensor) -> Tensor:
    z = y.view(-1, 2, 4)
    y[:, :3] = 0.5
    return z.sum(1)


def _written_through_a_view(y: Tensor) -> Tensor:
    y.view(-1, 2, 4)[:, 0] = 0.5
    return y


def _written_before(y: Tensor) -> Tensor:
    y[:, :3] = 0.5
    return y.view(-1, 2, 4).sum(1)


class Fixed(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.up = nn.Linear(6, 8)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.up(x))


@pytest.mark.parametrize(
    ("function", "views"),
    [
        (_dropped, 0),
        (_read_through_a_view, 1),
        (_written_through_a_view, 1),
        (_written_before, 0),
    ],
)
def test_a_view_stays_where_a_write_is_seen_through_it(
    function: Callable[[Tensor], Tensor], views: int
) -> None:
    torch.manual_seed(0)
    model = Fixed(function).eval()
    program = capture(model, torch.zeros(2, 6))
    assert len(program.graph.find_nodes(op="call_function", target=_aten.view.default)) == views
    x = torch.randn(5, 6)
    with torch.no_grad():
        (given,) = run(program.graph, program.tensors, [x])
        torch.testing.assert_close(given, model(x))


@pytest.mark.parametrize(
    ("source", "later", "copied"),
    [
        (_aten.relu.default, _aten.sym_size.int, True),
        (_aten.relu.default, _aten.select.int, False),
        (None, _aten.sym_size.int, False),
    ],
)
def test_who_reads_what_is_written_through_a_view(source: object, later: object, copied: bool) -> None:
    """A later size is no read, and inputs are read by whoever holds them."""
    graph = fx.Graph()
    x = graph.placeholder("x")
    y = graph.call_function(source, (x,)) if source else x
    view = graph.call_function(_aten.view.default, (y, [4, 2, 3]))
    graph.call_function(_aten.relu_.default, (view,))
    graph.output((view, graph.call_function(later, (y, 0, *[0] * (later is _aten.select.int)))))
    assert Memory(graph).can_copy(view) == copied
    relax_views(graph)
    assert view.target is (_aten.reshape.default if copied else _aten.view.default)

"""Operators that public models call between their layers: they prune through, and equal the zeroed original."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from at_batches import right_at_batches, right_in_onnx
from black_box import reproducible  # noqa: F401  (a fixture)
from torch import Tensor, nn

import graphprune as gp

X = torch.zeros(2, 5, 6)


class Net(nn.Module):
    """Layers that prune, around what a function does with two tensors [batch, 5, 8]."""

    def __init__(self, function: Callable[[Net, Tensor, Tensor], Tensor], width: int = 8) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(6, 8)
        self.last = nn.Linear(width, 4)
        self.vector, self.square = nn.Parameter(torch.rand(8)), nn.Parameter(torch.rand(8, 8))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self, self.a(x).tanh(), self.b(x).tanh()))


# what removed units at zero leave no trace in; the width of the result; the layers that lose half of their outputs
_EXACT: dict[str, tuple[Callable[[Net, Tensor, Tensor], Tensor], int, str]] = {
    "distances": (
        lambda m, x, y: torch.stack([F.cosine_similarity(x, y, -1), torch.linalg.vecdot(x, y)], -1),
        2,
        "ab",
    ),
    "products": (
        lambda m, x, y: torch.tensordot(x, m.square, ([2], [0])) + torch.inner(y, m.square),
        8,
        "ab",
    ),
    "a chain": (
        lambda m, x, y: torch.linalg.multi_dot([x.flatten(0, 1), m.square, m.square.T]).view_as(x),
        8,
        "a",
    ),
    "special functions": (
        lambda m, x, y: (
            x * torch.special.i0e(y) * torch.special.xlog1py(x, y.abs())
            + sum(torch.broadcast_tensors(x, m.vector))
        ),
        8,
        "ab",
    ),
    "stacks": (lambda m, x, y: torch.dstack([x, y]), 16, "ab"),
    "splits": (lambda m, x, y: torch.cat(torch.dsplit(x, [4]), 2) * torch.arctan(y), 8, "ab"),
    "written": (
        lambda m, x, y: torch.select_scatter(x, y[:, 0], 1, -1) + torch.slice_scatter(x, y[:, :1], 1, 0, 1),
        8,
        "ab",
    ),
    "order": (lambda m, x, y: x.kthvalue(2, 1, True).values + y.quantile(0.3, 1, True).expand_as(y), 8, "ab"),
    "backwards": (lambda m, x, y: x.flip(2) + y, 8, "ab"),
    "backwards and forwards": (lambda m, x, y: x + x.flip(2) + y, 8, "ab"),
    "joined backwards": (lambda m, x, y: torch.cat([x, y], 2).flip(2), 16, "ab"),
    "turned": (lambda m, x, y: torch.rot90(x, 2, [1, 2]) * y, 8, "ab"),
    "rolled back": (lambda m, x, y: x.roll(-3, -1).roll(3, 2) + y, 8, "ab"),
}

_IN_ONNX = {"products", "splits", "backwards and forwards", "turned", "rolled back"}


@pytest.mark.parametrize("name", _EXACT)
def test_pruned_through(name: str, tmp_path: Path) -> None:
    function, width, layers = _EXACT[name]
    model = Net(function, width)
    result = right_at_batches(model, X, ratio=0.5)
    for layer in layers:
        assert result.model.get_parameter(f"{layer}.weight").shape[0] < 8, layer
    if name in _IN_ONNX:
        right_in_onnx(model, X, result, tmp_path / "out")


# what is defined on the units that are left; the verdict compares it with that
_STATISTICS: dict[str, tuple[Callable[[Net, Tensor, Tensor], Tensor], int]] = {
    "losses": (
        lambda m, x, y: torch.stack(
            [
                F.mse_loss(x, y),
                F.smooth_l1_loss(x, y),
                F.kl_div(x, y.sigmoid(), reduction="sum"),
                F.huber_loss(x, y),
            ]
        ).expand(x.shape[0], 4),
        4,
    ),
    "distances": (
        lambda m, x, y: torch.stack(
            [F.pairwise_distance(x, y), F.triplet_margin_loss(x, y, -x).expand(x.shape[:2])], -1
        ),
        2,
    ),
    "extremes": (
        lambda m, x, y: torch.stack([*x.aminmax(dim=-1), y.nanmean(-1), y.quantile(0.4, -1)], -1),
        4,
    ),
    "matrices": (
        lambda m, x, y: torch.stack([torch.linalg.matrix_norm(x), torch.linalg.matrix_norm(y, "nuc")], -1),
        2,
    ),
}


@pytest.mark.parametrize("name", _STATISTICS)
def test_what_is_defined_on_what_is_left(name: str) -> None:
    function, width = _STATISTICS[name]
    result = gp.shrink(Net(function, width), X, ratio=0.5)
    assert result.verdict.passed
    assert result.model.a.weight.shape[0] == 4


class Pooled(nn.Module):
    """A decoder that puts values back to where pooling found them."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y, places = F.max_pool2d(self.down(x).relu(), 2, return_indices=True)
        return self.up(F.max_unpool2d(y, places, 2))


class Bags(nn.Module):
    """Bags of words."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.EmbeddingBag(30, 8), nn.Linear(8, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.last(self.table(ids).relu())


@pytest.mark.parametrize(
    ("model", "inputs", "tensor", "dim"),
    [
        (Pooled(), torch.zeros(2, 3, 8, 8), "down.weight", 0),
        (Bags(), torch.randint(30, (3, 5), generator=torch.Generator().manual_seed(0)), "table.weight", 1),
    ],
    ids=["unpooling", "bags"],
)
def test_layers_that_look_up_and_put_back(model: nn.Module, inputs: Tensor, tensor: str, dim: int) -> None:
    result = gp.shrink(model, inputs, ratio=0.5)
    assert result.verdict.passed
    assert result.model.get_parameter(tensor).shape[dim] == 4


def test_a_permutation_keeps_the_same_units() -> None:
    """Backwards, unit i of the first layer is column 7 - i of the second."""
    result = gp.shrink(Net(lambda m, x, y: x.flip(2)), X, ratio=0.5)
    made, read = result.plan.kept["a.weight"][0], result.plan.kept["last.weight"][1]
    assert torch.equal(made, (7 - read).flip(0))
    assert result.plan.sizes == {"a.weight:0": 4}


def test_units_that_stand_for_each_other_go_together() -> None:
    result = gp.shrink(Net(lambda m, x, y: x + x.flip(2)), X, ratio=0.5)
    kept = result.plan.kept["a.weight"][0]
    assert torch.equal(kept, (7 - kept).flip(0))
    assert len(kept) == 4


class Indexed(nn.Module):
    """Channels in an order that the model keeps, and some of them."""

    def __init__(self, run: Callable[[Any, Tensor], Tensor], read: int = 8) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 8)
        self.last = nn.Linear(read, 4)
        self.register_buffer("order", torch.tensor([3, 1, 7, 0, 5, 2, 6, 4]))
        self.register_buffer("some", torch.tensor([6, 1, 4, 2]))
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.run(self, self.first(x).tanh()))


_INDEXED: dict[str, tuple[Callable[[Any, Tensor], Tensor], int]] = {
    "in an order": (lambda m, h: h[..., m.order], 8),
    "selected in an order": (lambda m, h: h.index_select(2, m.order), 8),
    "twice": (lambda m, h: h[..., m.order] + m.second(h)[..., m.order], 8),
    "some": (lambda m, h: h[:, :, m.some], 4),
    "by a list": (lambda m, h: m.second(h)[..., [1, 0, 3, 2, 5, 4, 7, 6]] * 2, 8),
}


@pytest.mark.parametrize("name", _INDEXED)
def test_channels_at_stored_positions(name: str, tmp_path: Path) -> None:
    run, read = _INDEXED[name]
    model = Indexed(run, read)
    result = right_at_batches(model, X, ratio=0.5)
    assert result.model.get_parameter("first.weight").shape[0] < 8
    if name in ("in an order", "some"):
        right_in_onnx(model, X, result, tmp_path / "out")


def test_a_stored_order_counts_what_is_left() -> None:
    result = gp.shrink(Indexed(_INDEXED["in an order"][0]), X, ratio=0.5)
    kept = result.plan.kept["first.weight"][0].tolist()
    expected = [kept.index(unit) for unit in [3, 1, 7, 0, 5, 2, 6, 4] if unit in kept]
    assert result.model.get_buffer("order").tolist() == expected


def test_an_order_that_ties_units() -> None:
    """Unit i is added to unit ``order[i]``: a cycle of units goes as one, and these are cycles of two."""
    result = gp.shrink(Indexed(lambda m, h: h + h[..., [1, 0, 3, 2, 5, 4, 7, 6]]), X, ratio=0.5)
    kept = result.plan.kept["first.weight"][0].tolist()
    assert len(kept) == 4
    assert {unit ^ 1 for unit in kept} == set(kept)


def test_one_vector_for_dimensions_of_which_one_stays() -> None:
    """It cannot count anew for one and not for the other."""
    model = Indexed(lambda m, h: h[..., m.order] + torch.eye(8)[m.order].sum(0))
    assert gp.shrink(model, X, ratio=0.5).verdict.passed


def test_a_vector_that_is_also_computed_with_keeps_its_numbers() -> None:
    """What it reads stays whole then."""
    result = gp.shrink(Indexed(lambda m, h: h[..., m.order] + m.order.sum()), X, ratio=0.5)
    assert result.model.get_parameter("first.weight").shape == (8, 6)
    kept = result.plan.kept["order"][0]
    assert result.model.get_buffer("order").tolist() == [[3, 1, 7, 0, 5, 2, 6, 4][place] for place in kept]

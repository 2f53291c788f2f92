"""Sizes that are equal in the example: each its own if the model allows, one if it compares them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.capture.inputs import input_dimensions, normalise_inputs
from graphprune.capture.searching import find_varying


class Masked(nn.Module):
    def __init__(self, compares: bool) -> None:
        super().__init__()
        self.embed, self.up, self.down = nn.Embedding(9, 6), nn.Linear(6, 12), nn.Linear(12, 6)
        self.compares = compares

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.down(self.up(self.embed(ids)).relu())
        weights = mask.to(x.dtype)[..., None]
        if not self.compares:
            return x.sum(1) * weights.sum(1)
        if mask.shape[1] != ids.shape[1]:
            weights = nn.functional.pad(weights, (0, 0, 0, ids.shape[1] - mask.shape[1]))
        return x * weights


def traced(compares: bool) -> gp.Result:
    torch.manual_seed(0)
    example = torch.randint(0, 9, (2, 8)), torch.ones(2, 8, dtype=torch.int64)
    return gp.shrink(Masked(compares), example, ratio=0.5)


def test_sizes_that_need_not_be_equal_vary_on_their_own() -> None:
    result = traced(compares=False)
    assert sorted(result.graph.program.sizes) == ["batch", "mask_sequence", "sequence"]
    ids, mask = torch.randint(0, 9, (3, 5)), torch.ones(3, 11, dtype=torch.int64)
    assert result.model(ids, mask).shape == (3, 6)


def test_sizes_that_are_compared_are_one() -> None:
    result = traced(compares=True)
    assert result.graph.program.sizes == {"batch": 2, "sequence": 8}
    for length in (1, 5, 40):
        ids, mask = torch.randint(0, 9, (3, length)), torch.ones(3, length, dtype=torch.int64)
        assert result.model(ids, mask).shape == (3, length, 6)
    with pytest.raises(gp.InputError, match="sizes"):
        result.model(torch.randint(0, 9, (3, 5)), torch.ones(3, 4, dtype=torch.int64))


class Looked(Masked):
    """Looks its mask up by places, of which those beyond it are found on values alone."""

    def __init__(self) -> None:
        super().__init__(compares=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.down(self.up(self.embed(ids)).relu())
        rows, steps = torch.arange(ids.shape[0]), torch.arange(ids.shape[1])
        return x * mask[rows[:, None], steps][..., None]


def test_sizes_that_are_looked_up_are_one() -> None:
    example = torch.randint(0, 9, (2, 8)), torch.ones(2, 8)
    result = gp.shrink(Looked(), example, ratio=0.5)
    assert result.graph.program.sizes == {"batch": 2, "sequence": 8}
    assert result.model(torch.randint(0, 9, (5, 3)), torch.ones(5, 3)).shape == (5, 3, 6)


class Beside(nn.Module):
    """Runs at any two lengths, which a user may know to be one."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x.sum(1) + mask.sum(1)[:, None]


def test_sizes_of_one_name_vary_together() -> None:
    model, inputs = Beside(), normalise_inputs((torch.zeros(2, 6, 3), torch.ones(2, 6)))
    dimensions = input_dimensions(inputs, ["x", "mask"])
    lengths = {(0, 1), (1, 1)}

    def places(ties: dict[tuple[int, int], str]) -> list[set[tuple[int, int]]]:
        sizes = find_varying(model, inputs, dimensions, ties).sizes
        return [set(vary.places) for vary in sizes if lengths & set(vary.places)]

    assert places({}) == [{(0, 1)}, {(1, 1)}]
    assert places(dict.fromkeys(lengths, "length")) == [lengths]

"""Decisions that set the size 1 apart: harmless ones are allowed, others refuse it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp


class Tokens(nn.Module):
    def __init__(self, single: object) -> None:
        super().__init__()
        self.embed, self.up, self.down = nn.Embedding(9, 6), nn.Linear(6, 12), nn.Linear(12, 6)
        self.single = single

    def forward(self, ids: Tensor) -> Tensor:
        x = self.down(self.up(self.embed(ids)).relu())
        return self.single(x)


def faster(x: Tensor) -> Tensor:
    return x.cumsum(1) if x.shape[1] > 1 else x


def different(x: Tensor) -> Tensor:
    return x.cumsum(1) if x.shape[1] != 1 else x + 1


def half(x: Tensor) -> Tensor:
    return x.cumsum(1) if x.shape[1] // 2 > 1 else x * 1


def even(x: Tensor) -> Tensor:
    return x.cumsum(1) if x.shape[1] % 2 == 0 else x * 1


def failing(x: Tensor) -> Tensor:
    if x.shape[1] < 2:
        raise ValueError("too short")
    return x.cumsum(1)


def slim(single: object) -> gp.Result:
    torch.manual_seed(0)
    return gp.shrink(Tokens(single), torch.randint(0, 9, (2, 6)), ratio=0.5)


def test_a_decision_that_changes_nothing_allows_the_size() -> None:
    result = slim(faster)
    assert {"batch": 2, "sequence": 1} in [{**sizes, "batch": 2} for sizes in result.graph.program.tried]
    ids = torch.randint(0, 9, (3, 1))
    torch.testing.assert_close(result.model(ids), result.model(ids.repeat(1, 2))[:, :1])


@pytest.mark.parametrize("single", [different, half, failing])
def test_others_refuse_it(single: object) -> None:
    with pytest.raises(gp.InputError, match="the model decides on its sizes"):
        slim(single).model(torch.randint(0, 9, (3, 1)))


def test_a_condition_on_more_sizes_than_one_stays() -> None:
    result = slim(half)
    with pytest.raises(gp.InputError, match="decides on its sizes"):
        result.model(torch.randint(0, 9, (3, 3)))
    with pytest.raises(gp.InputError):
        slim(even).model(torch.randint(0, 9, (3, 3)))


def test_batches_of_one() -> None:
    def squeezed(x: Tensor) -> Tensor:
        return x.sum(0, keepdim=True) if x.shape[0] > 1 else x

    assert slim(squeezed).model(torch.randint(0, 9, (1, 6))).shape == (1, 6, 6)


@pytest.mark.parametrize("single", [faster, lambda x: x.cumsum(1)])
def test_an_example_of_one_token_holds_for_more(single: object) -> None:
    model, one = Tokens(single), torch.randint(0, 9, (2, 1))
    result = gp.shrink(model, one, params=1.0)
    assert result.graph.program.sizes == {"batch": 2, "sequence": 1}
    for length in (1, 2, 9):
        ids = torch.randint(0, 9, (3, length))
        torch.testing.assert_close(result.model(ids), model(ids))
    assert result.before.macs == 2 * 6 * 12
    assert result.graph.program.values["relu"].shape[1:] == (1, 12)


def test_an_example_of_one_token_holds_for_one_where_the_model_computes_otherwise() -> None:
    result = gp.shrink(Tokens(different), torch.randint(0, 9, (2, 1)), params=1.0)
    assert "sequence" not in result.graph.program.sizes
    with pytest.raises(gp.InputError, match="the model computes otherwise at the size 1"):
        result.model(torch.randint(0, 9, (2, 3)))

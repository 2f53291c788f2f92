"""Tables that sizes index, such as learned positions: what reaches beyond them is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp

ROWS = 20
Rows = Callable[["Positions", Tensor, int], Tensor]


class Positions(nn.Module):
    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.embed, self.up, self.down = nn.Embedding(9, 6), nn.Linear(6, 12), nn.Linear(12, 6)
        self.table = nn.Embedding(ROWS, 6)
        self.register_buffer("numbers", torch.arange(ROWS)[None])
        self.rows = rows

    def forward(self, ids: Tensor, past: Tensor) -> Tensor:
        x = self.embed(ids) + self.rows(self, ids, past.shape[1])
        return torch.cat([past, self.down(self.up(x).relu())], 1)


def counted(model: Positions, ids: Tensor, past: int) -> Tensor:
    return model.table(torch.arange(ids.shape[1]))


def shifted(model: Positions, ids: Tensor, past: int) -> Tensor:
    return model.table(torch.arange(ids.shape[1]) + 2)


def after_the_past(model: Positions, ids: Tensor, past: int) -> Tensor:
    return model.table(torch.arange(past, past + ids.shape[1]))


def every_other(model: Positions, ids: Tensor, past: int) -> Tensor:
    return model.table.weight[torch.arange(ids.shape[1]) * 2]


def kept(model: Positions, ids: Tensor, past: int) -> Tensor:
    return model.table(model.numbers[:, : ids.shape[1]])


def sliced(model: Positions, ids: Tensor, past: int) -> Tensor:
    return model.table.weight[: ids.shape[1]]


def selected(model: Positions, ids: Tensor, past: int) -> Tensor:
    return model.table.weight.index_select(0, torch.ones_like(ids[0]).cumsum(0) - 1)


def summed(model: Positions, ids: Tensor, past: int) -> Tensor:
    return model.table.weight[: ids.shape[1]].sum(0)


def limited(model: Positions, ids: Tensor, past: int) -> Tensor:
    return model.table(torch.arange(ids.shape[1]).clamp(max=7))


def slim(rows: Rows) -> gp.Result:
    torch.manual_seed(0)
    return gp.shrink(Positions(rows), (torch.randint(0, 9, (2, 5)), torch.randn(2, 3, 6)), ratio=0.5)


@pytest.mark.parametrize(
    ("rows", "longest", "said"),
    [
        (counted, 20, r"ids\[1\] must be at most 20, where a table of 20 rows ends"),
        (shifted, 18, r"ids\[1\] must be at most 18, where a table of 20 rows ends"),
        (after_the_past, 16, r"ids\[1\] \+ past\[1\] must be at most 20"),
        (every_other, 10, r"2 · ids\[1\] must be at most 21"),
        (kept, 20, r"ids\[1\] must be at most 20"),
        (sliced, 20, r"ids\[1\] must be at most 20"),
        (selected, 20, r"ids\[1\] must be at most 20"),
    ],
)
def test_what_reaches_beyond_a_table_is_refused(rows: Rows, longest: int, said: str) -> None:
    result = slim(rows)
    past = torch.randn(1, 4, 6)
    assert result.model(torch.zeros(1, longest, dtype=torch.int64), past).shape == (1, 4 + longest, 6)
    with pytest.raises(gp.InputError, match=said):
        result.model(torch.zeros(1, longest + 1, dtype=torch.int64), past)


@pytest.mark.parametrize("rows", [limited, summed])
def test_what_ends_with_the_table_has_no_limit(rows: Rows) -> None:
    result = slim(rows)
    assert result.model(torch.zeros(1, 50, dtype=torch.int64), torch.randn(1, 4, 6)).shape == (1, 54, 6)

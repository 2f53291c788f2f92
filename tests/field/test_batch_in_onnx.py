"""Operators whose results, or whose checks, depend on data: the batch stays open, in PyTorch and in ONNX.

How many rows a mask takes is known at run time only. That says nothing of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from at_batches import right_at_batches, right_in_onnx
from black_box import reproducible  # noqa: F401  (a fixture)
from torch import Tensor, nn

X = torch.zeros(2, 6, 6)


class Net(nn.Module):
    """Layers that prune, around what a function does with their result ``[batch, 6, 8]``."""

    def __init__(self, function: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 12), nn.Linear(12, 8)
        self.inner, self.last = nn.Linear(8, 8), nn.Linear(8, 4)
        self.table = nn.EmbeddingBag(20, 8)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self, self.second(self.first(x).relu())))


def _rows(y: Tensor) -> Tensor:
    return y.mean(-1) > y.mean()


def _ids(y: Tensor) -> Tensor:
    return (y[:, :, 0] * 5).long().clamp(0, 19)


def _nonzero(m: Net, y: Tensor) -> Tensor:
    found = torch.nonzero(_rows(y))
    batch, token = found[:, 0], found[:, 1]
    return y.index_put((batch, token), m.inner(y[batch, token]), accumulate=True)


def _where(m: Net, y: Tensor) -> Tensor:
    batch, token = torch.where(_rows(y))
    return y.index_put((batch, token), m.inner(y[batch, token]))


def _read_by_mask(m: Net, y: Tensor) -> Tensor:
    mask = _rows(y)
    result = torch.zeros_like(y)
    result[mask] = m.inner(y[mask])
    return result + y


def _examples_by_mask(m: Net, y: Tensor) -> Tensor:
    mask = y.mean((1, 2)) > y.mean()
    return torch.cat([m.inner(y[mask]), y[~mask]])


def _written_by_mask(m: Net, y: Tensor) -> Tensor:
    y = m.inner(y)
    y[_rows(y)] = 0.5
    return y


def _written_by_full_mask(m: Net, y: Tensor) -> Tensor:
    y = m.inner(y)
    y[y > 1] = 0.5
    return y


def _written_by_expanded_mask(m: Net, y: Tensor) -> Tensor:
    mask = _rows(y)[:, :, None].expand(-1, -1, y.shape[2])
    y = m.inner(y)
    y[~mask] = 0.5
    return y


def _bag_with_offsets(m: Net, y: Tensor) -> Tensor:
    ids = _ids(y)
    return y + m.table(ids.flatten(), torch.arange(0, ids.numel(), ids.shape[1]))[:, None]


def _inverse_spectrum(m: Net, y: Tensor) -> Tensor:
    window = torch.hann_window(4)
    signal = y.transpose(1, 2).flatten(0, 1)
    spectrum = torch.stft(signal, 4, 2, window=window, pad_mode="constant", return_complex=True)
    signal = torch.istft(spectrum, 4, 2, window=window, length=6)
    return signal.view(y.shape[0], 8, 6).transpose(1, 2) + y


def _unique(m: Net, y: Tensor) -> Tensor:
    _, inverse = torch.unique(_ids(y), return_inverse=True)
    return y + m.inner(y) * inverse[:, :, None]


IN_ONNX: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "nonzero": _nonzero,
    "where of one argument": _where,
    "read by mask": _read_by_mask,
    "examples by mask": _examples_by_mask,
    "written by mask": _written_by_mask,
    "written by full mask": _written_by_full_mask,
    "written by expanded mask": _written_by_expanded_mask,
    "masked_fill": lambda m, y: m.inner(y).masked_fill(_rows(y)[:, :, None], 0.5),
    "masked_scatter": lambda m, y: m.inner(y).masked_scatter(_rows(y)[:, :, None].expand_as(y), y.flip(1)),
    "masked_select": lambda m, y: y + torch.masked_select(m.inner(y), _rows(y)[:, :, None]).mean(),
    "embedding_bag": lambda m, y: y + m.table(_ids(y))[:, None],
    "embedding_bag with offsets": _bag_with_offsets,
    "istft": _inverse_spectrum,
}
# for these ONNX may lack an operator
IN_PYTORCH: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "unique": _unique,
}


@pytest.mark.parametrize("label", IN_ONNX)
def test_batch_varies_where_shapes_are_data(label: str, tmp_path: Path) -> None:
    model = Net(IN_ONNX[label])
    right_in_onnx(model, X, right_at_batches(model, X), tmp_path)


@pytest.mark.parametrize("label", IN_PYTORCH)
def test_batch_varies_in_pytorch_where_shapes_are_data(label: str) -> None:
    right_at_batches(Net(IN_PYTORCH[label]), X)


@pytest.mark.parametrize(
    "label", ["written by mask", "written by full mask", "written by expanded mask", "masked_fill"]
)
def test_what_a_mask_overwrites_keeps_its_width_free(label: str) -> None:
    """Each position stands for itself, whether the mask has the width or not."""
    result = right_at_batches(Net(IN_ONNX[label]), X)
    assert "inner.weight:0" in {group.name for group in result.graph.groups}

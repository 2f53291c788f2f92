"""Attention in every idiom by which its heads are put together again: the batch stays open.

While a model is traced, ``contiguous`` may do nothing, as the strides of that one batch allow; a view that follows
must not be taken at its word.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from at_batches import right_at_batches, right_in_onnx
from black_box import reproducible  # noqa: F401  (a fixture)
from torch import Tensor, nn

sdpa = F.scaled_dot_product_attention
X = torch.zeros(2, 6, 16)


def _plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return sdpa(q, k, v)


def _causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return sdpa(q, k, v, is_causal=True)


def _boolean_mask(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return sdpa(q, k, v, attn_mask=torch.ones(6, 6, dtype=torch.bool).tril())


def _mask_of_the_batch(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    far = (q[:, :, :, :1] > 0.5).expand(-1, -1, -1, 6) & ~torch.eye(6, dtype=torch.bool)
    return sdpa(q, k, v, attn_mask=torch.zeros(far.shape).masked_fill(far, -3.0))


def _grouped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return sdpa(q, k[:, :2], v[:, :2], enable_gqa=True)


def _written_before(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q = q.clone()
    q[:, :, 0] = 0
    return sdpa(q, k, v)


def _written_after(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    y = sdpa(q, k, v)
    y[:, :, 0] = 0.5
    return y


ATTENTION = {
    "plain": _plain,
    "causal": _causal,
    "boolean mask": _boolean_mask,
    "mask of the batch": _mask_of_the_batch,
    "grouped": _grouped,
    "written before": _written_before,
    "written after": _written_after,
}


def _viewed_and_written(y: Tensor) -> Tensor:
    y = y.transpose(1, 2).contiguous().view(y.shape[0], -1, 16)
    y[:, 1:, :4] = 0.5
    return y


JOINED: dict[str, Callable[[Tensor], Tensor]] = {
    "view": lambda y: y.transpose(1, 2).contiguous().view(y.shape[0], -1, 16),
    "reshape": lambda y: y.transpose(1, 2).reshape(y.shape[0], y.shape[2], 16),
    "flatten": lambda y: y.transpose(1, 2).flatten(2),
    "view, then written": _viewed_and_written,
}


class Attention(nn.Module):
    def __init__(
        self, attention: Callable[[Tensor, Tensor, Tensor], Tensor], joined: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.out = nn.Linear(16, 16)
        self.up, self.down = nn.Linear(16, 24), nn.Linear(24, 16)
        self.attention, self.joined = attention, joined

    def forward(self, x: Tensor) -> Tensor:
        heads = [
            layer(x).view(x.shape[0], x.shape[1], 4, 4).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        ]
        x = x + self.out(self.joined(self.attention(*heads)))
        return x + self.down(self.up(x).relu())


@pytest.mark.parametrize("joined", JOINED)
@pytest.mark.parametrize("attention", ATTENTION)
def test_batch_of_attention_varies(attention: str, joined: str) -> None:
    right_at_batches(Attention(ATTENTION[attention], JOINED[joined]), X)


@pytest.mark.parametrize(
    ("attention", "joined"),
    [
        ("plain", "view"),
        ("causal", "reshape"),
        ("boolean mask", "flatten"),
        ("mask of the batch", "view"),
        ("grouped", "view"),
        ("written before", "view"),
        ("written after", "view"),
        ("plain", "view, then written"),
    ],
)
def test_batch_of_attention_varies_in_onnx(attention: str, joined: str, tmp_path: Path) -> None:
    model = Attention(ATTENTION[attention], JOINED[joined])
    right_in_onnx(model, X, right_at_batches(model, X), tmp_path)

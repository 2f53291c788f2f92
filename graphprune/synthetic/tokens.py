"""Texts of tokens that nobody has written: frequent ones more often, between the marks of beginning and end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["texts"]

ZIPF = 0.7  # the fall of frequencies over ranks; of words in texts it is about 1 (Zipf, 1949)
FIRST = 30  # added to ranks, so that the first ones do not fill every text
UNUSED = 0.5  # of the median length of an embedding: tokens that were never trained lie below
FIRST_MARKS = ("decoder_start_token_id", "bos_token_id", "cls_token_id")
LAST_MARKS = ("eos_token_id", "sep_token_id")


def texts(
    shape: tuple[int, ...],
    rows: int,
    table: Tensor | None,
    model: nn.Module | None,
    generator: torch.Generator,
) -> Tensor:
    """``shape`` whole numbers below ``rows``.

    Vocabularies are written in the order of frequency, more or less, so the number of a token stands for its rank.
    Tokens that training has never met kept the short embeddings that they began with, and are left out.

    Args:
        table: the embeddings ``[rows, width]``, where they are known.
        model: its ``config`` may name tokens for the beginning and the end.
    """
    chances = (torch.arange(rows) + FIRST).double() ** -ZIPF
    if table is not None:
        lengths = table.detach().double().norm(dim=1)[:rows].cpu()
        used = lengths > UNUSED * lengths.median()
        chances = torch.where(used, (used.cumsum(0) - 1 + FIRST).double() ** -ZIPF, 0.0)
    count = int(torch.Size(shape).numel())
    drawn = torch.multinomial(chances, count, replacement=True, generator=generator).reshape(shape)
    if len(shape) == 2 and shape[1] > 2:
        for place, marks in ((0, FIRST_MARKS), (-1, LAST_MARKS)):
            if (mark := _mark(model, marks, rows)) is not None:
                drawn[:, place] = mark
    return drawn


def _mark(model: Any, names: tuple[str, ...], rows: int) -> int | None:
    config = getattr(model, "config", None)
    found = (getattr(config, name, None) for name in names)
    return next((mark for mark in found if isinstance(mark, int) and 0 <= mark < rows), None)

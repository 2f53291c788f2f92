"""Texts of tokens that nobody has written: frequent ones more often, between the marks of beginning and end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["masked", "texts"]

ZIPF = 0.7  # the fall of frequencies over ranks; of words in texts it is about 1 (Zipf, 1949)
FIRST = 30  # added to ranks, so that the first ones do not fill every text
UNUSED = 0.5  # of the median length of an embedding: tokens that were never trained lie below
FIRST_MARKS = ("decoder_start_token_id", "bos_token_id", "cls_token_id")
SHORTEST = 0.25  # of a row's length: texts are so long at least where a mask says how long they are
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


def masked(
    leaves: Sequence[Any], given: Sequence[Any], place: int, model: Any, generator: torch.Generator
) -> list[Any]:
    """The leaves of a call with texts of all lengths, where another input says how long each text is.

    Such a mask has the shape of the tokens, and ones before zeros, in the example. Models are trained on texts of all
    lengths, and attend otherwise where a text is long.

    Args:
        leaves: with tokens ``[count, length]`` at ``place``.
        given: the leaves of the example.
    """
    tokens = leaves[place]
    found = list(leaves)
    masks = [number for number, leaf in enumerate(given) if number != place and _is_mask(leaf, tokens.shape)]
    if not masks:
        return found
    count, length = tokens.shape
    shortest = max(int(SHORTEST * length), 3)
    lengths = torch.randint(min(shortest, length), length + 1, (count, 1), generator=generator)
    mask = torch.arange(length) < lengths
    found[place] = torch.where(mask, tokens, _mark(model, ("pad_token_id",), 2**31) or 0)
    if (mark := _mark(model, LAST_MARKS, 2**31)) is not None:
        found[place].scatter_(1, lengths - 1, mark)
    for number in masks:
        found[number] = mask.to(given[number])
    return found


def _is_mask(leaf: Any, shape: torch.Size) -> bool:
    """Whether a leaf is ones, or ones before zeros in every row."""
    if not isinstance(leaf, Tensor) or leaf.shape != shape or leaf.is_complex():
        return False
    is_one = leaf == 1
    falls = is_one[:, 1:] <= is_one[:, :-1]
    return bool((is_one | (leaf == 0)).all() and falls.all() and is_one[:, 0].all())


def _mark(model: Any, names: tuple[str, ...], rows: int) -> int | None:
    config = getattr(model, "config", None)
    found = (getattr(config, name, None) for name in names)
    return next((mark for mark in found if isinstance(mark, int) and 0 <= mark < rows), None)

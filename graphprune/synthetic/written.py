"""English text in the tokens of a model that has a tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from graphprune.ground.errors import InputError, first_line
from graphprune.synthetic.sentences import SENTENCES

__all__ = ["Tokenizer", "written"]

Tokenizer = Callable[..., Mapping[str, Any]]  # as those of transformers are called

TOKENS_OF_ONE = 20  # tokens of a sentence, more or less
REMEDY = "give the model's own tokenizer, or leave it out"


def written(tokenizer: Tokenizer, count: int, length: int, rows: int) -> dict[str, Tensor]:
    """``[count, length]`` of everything that the tokenizer says of `SENTENCES`, such as "input_ids".

    A text is one sentence, or up to as many as fill its row, so that texts have all lengths.

    Args:
        tokenizer: takes a list of texts, ``padding``, ``truncation``, ``max_length`` and ``return_tensors``.
        count: of texts.
        rows: tokens that the model knows.

    Raises:
        InputError: the tokenizer fails, or makes tokens that the model does not know.
    """
    most = max(length // TOKENS_OF_ONE, 1)
    last = max(len(SENTENCES) - most, 0)
    starts = [round(place * last / max(count - 1, 1)) for place in range(count)]
    texts = [" ".join(SENTENCES[start : start + 1 + place % most]) for place, start in enumerate(starts)]
    try:
        encoded = tokenizer(
            texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        found = {name: torch.as_tensor(value) for name, value in encoded.items()}
        ids = found["input_ids"]
    except Exception as error:  # whatever a tokenizer of the user's raises
        raise InputError(f"the tokenizer cannot be used: {first_line(error)}", REMEDY) from error
    if tuple(ids.shape) != (count, length):
        raise InputError(
            f"the tokenizer makes {list(ids.shape)} tokens of {count} texts, not {[count, length]}", REMEDY
        )
    if int(ids.max()) >= rows:
        raise InputError(
            f"the tokenizer makes token {int(ids.max()):,}, and the model knows {rows:,}", REMEDY
        )
    return found

"""Text as calibration data: rows of tokens from files, or written by the model itself; loss and perplexity on them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from itertools import chain
from math import exp
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphprune.calibration.documents import documents
from graphprune.ground.errors import InputError

__all__ = ["LENGTH", "TOKENS", "next_token_loss", "own_text", "perplexity", "text_batches"]

Batch = dict[str, Tensor]

TOKENS = 4096  # 16 rows of 256: what the figures of docs/language.md are made with
LENGTH = 256
NUCLEUS = 0.95  # of the probability that text of the model's own is drawn from
CHARACTERS = 32  # for each token, that are read of a file at the most


def text_batches(
    tokenizer: Any, text: str | Path, tokens: int | None = TOKENS, length: int = LENGTH
) -> list[Batch]:
    """Rows of ``length`` tokens, ``{"input_ids": [1, length]}`` each, ``tokens`` in all or as many as there are.

    With None for ``tokens`` the whole text is read.

    Files follow one another, each with the special tokens that the tokenizer adds.

    Args:
        tokenizer: of transformers, or any that returns a dict with "input_ids".
        text: a text, the path of a text file, or a folder of them. In a file whose name ends on .jsonl, .arrow (as
            datasets' ``save_to_disk`` writes) or .parquet each row is a document, with "messages" for the tokenizer's
            chat template, or with "text".

    Raises:
        InputError: there are fewer than ``length`` tokens, a file is not what it should be, or messages are given and
            the tokenizer has no chat template.
    """
    whole = None if tokens is None else max(tokens // length, 1) * length
    ids = array("q")
    for document in documents(tokenizer, text, -1 if whole is None else whole * CHARACTERS):
        ids.extend(tokenizer(document)["input_ids"])
        if whole is not None and len(ids) >= whole:
            break
    if len(ids) < length:
        raise InputError(
            f"the text {_shown(text)} has {len(ids)} tokens, and a row takes {length}",
            "give more text, the right path, or a smaller length",
        )
    rows = torch.frombuffer(ids, dtype=torch.long)[: len(ids[:whole]) // length * length]
    return [{"input_ids": row.unsqueeze(0)} for row in rows.split(length)]


def _shown(text: str | Path) -> str:
    said = str(text)
    return said if isinstance(text, Path) or len(said) < 40 else f"{said[:40]!r}…"


@torch.no_grad()
def own_text(model: Any, tokens: int = TOKENS, seed: int = 0, length: int = LENGTH) -> list[Batch]:
    """Text that the model writes itself, in rows as `text_batches` gives them: what to calibrate on without any data.

    All rows are sampled together, with a cache, from the likeliest tokens that have 95 % of the probability (Holtzman
    et al., "The Curious Case of Neural Text Degeneration", 2020): the rest of a small model's distribution is no text,
    and units that are chosen by it are worth less (docs/language.md). No row ends early. Each starts with a special
    token, in turn, and a random one, so that rows differ; see Liu et al., "LLM-QAT" (2023).

    Args:
        model: of transformers, one that generates text.
        seed: of random first tokens and of samples; torch's own random state stays as it was.

    Raises:
        InputError: the model generates no text.
    """
    if not getattr(model, "can_generate", lambda: False)() or model.config.is_encoder_decoder:
        raise InputError(
            f"a {type(model).__name__} cannot write text of its own", "give calibration text, or batches"
        )
    length = min(length, _longest(model.config))
    rows = max(tokens // length, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        start = _starts(model, rows)
        written = model.generate(
            start,
            attention_mask=torch.ones_like(start),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=NUCLEUS,
            use_cache=True,
            min_new_tokens=length - start.shape[1],
            max_new_tokens=length - start.shape[1],
            pad_token_id=0,
        )
    return [{"input_ids": row.unsqueeze(0)} for row in written]


def _longest(config: Any) -> int:
    """How many tokens the model has positions for."""
    return int(getattr(config.get_text_config(), "max_position_embeddings", None) or LENGTH)


def _starts(model: Any, rows: int) -> Tensor:
    """``[rows, 2]``: special tokens of the model, and any of its tokens; or the latter alone where it has none."""
    config = model.config.get_text_config()
    names = ("bos_token_id", "eos_token_id", "unk_token_id")
    given = (getattr(config, name, None) for name in names)
    special = list(dict.fromkeys(chain(*(_listed(item) for item in given))))
    words = torch.randint(config.vocab_size, (rows, 1), device=model.device)
    if not special:
        return words
    first = torch.tensor([special[row % len(special)] for row in range(rows)], device=model.device)
    return torch.cat([first.unsqueeze(1), words], 1)


def _listed(item: Any) -> list[int]:
    return [] if item is None else list(item) if isinstance(item, list | tuple) else [item]


def next_token_loss(outputs: Any, batch: Any) -> Tensor:
    """The mean cross entropy of every next token of the batch, to be given as ``loss=`` for text."""
    total, number = _cross_entropy(outputs, batch)
    return total / max(number, 1)


@torch.no_grad()
def perplexity(model: nn.Module, batches: Iterable[Any]) -> float:
    """The exponential of the mean cross entropy over all next tokens; lower is better.

    The first token of a row is not predicted, and none where the attention mask is zero.

    Args:
        model: anything that returns "logits" in a dict, such as a model of transformers or a slim one, or the logits
            themselves, ``[rows, length, tokens]``. It is called in eval mode.
        batches: tensors of ``input_ids``, or dicts with them.

    Raises:
        InputError: there is no token to predict.
    """
    total, number, training = 0.0, 0, model.training
    device = next((tensor.device for tensor in model.parameters()), None)
    model.eval()
    try:
        for batch in batches:
            own = batch if isinstance(batch, Mapping) else {"input_ids": batch}
            given = {name: value.to(device) for name, value in own.items()}
            inputs = {name: value for name, value in given.items() if name != "labels"}
            entropy, count = _cross_entropy(model(**inputs), given)
            total, number = total + float(entropy), number + count
    finally:
        model.train(training)
    if not number:
        raise InputError("the text has no token to predict", "give rows of two tokens or more")
    return exp(total / number)


def _cross_entropy(outputs: Any, batch: Any) -> tuple[Tensor, int]:
    """Summed over the next tokens, and how many those are."""
    logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs
    ids, mask = (
        (batch["input_ids"], batch.get("attention_mask")) if isinstance(batch, Mapping) else (batch, None)
    )
    wanted = ids[:, 1:]
    if mask is not None:
        wanted = wanted.masked_fill(mask[:, 1:] == 0, -100)
    losses = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), wanted.flatten(), reduction="sum")
    return losses, int((wanted != -100).sum())

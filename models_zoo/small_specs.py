"""How a small transformer is written in a table, and sizes that many of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from models_zoo.small_inputs import Kwargs

__all__ = ["BART", "ENCODER", "LAYERS", "LOGITS", "TOKENS", "Spec"]


class Spec(NamedTuple):
    """A row: what to configure, what to build, what it is called with, and which outputs are its task's."""

    name: str
    config: str
    model: str
    overrides: Mapping[str, Any]
    inputs: Callable[[int, Any], Kwargs]
    outputs: tuple[str, ...] = ()


LOGITS = ("logits",)
TOKENS = {"vocab_size": 120, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LAYERS = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 80}
ENCODER = TOKENS | LAYERS | {"max_position_embeddings": 40}
BART = TOKENS | {
    "d_model": 48,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 80,
    "decoder_ffn_dim": 88,
    "max_position_embeddings": 40,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
}

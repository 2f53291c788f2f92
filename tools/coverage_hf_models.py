"""The architectures of coverage_hf.py: those of the zoo's small transformers, and odd ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from graphprune.verifying import Lively
from models_zoo import torchvision_ops
from models_zoo.small_language import LANGUAGE
from models_zoo.small_vision import VISION_AND_SOUND

__all__ = ["MODELS", "build"]


class Architecture(NamedTuple):
    """A class with a small configuration."""

    config: str
    model: str
    overrides: Mapping[str, Any]


TEXT = {"vocab_size": 120, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SMALL = TEXT | {"hidden_size": 64, "intermediate_size": 88, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = SMALL | {"num_key_value_heads": 2}
# of the zoo's list those that are transformers, or have parts that are
SEEING = (
    "vit deit beit dinov2 dinov2_with_registers siglip clip clipseg swin swinv2 pvt_v2 segformer yolos dpt whisper "
    "wav2vec2 hubert audio_spectrogram patchtst"
).split()

ODD = {
    "odd_heads_wider": Architecture("LlamaConfig", "LlamaForCausalLM", GROUPED | {"head_dim": 24}),
    "odd_heads_narrower": Architecture("Qwen3Config", "Qwen3ForCausalLM", GROUPED | {"head_dim": 8}),
    "odd_biases": Architecture(
        "LlamaConfig", "LlamaForCausalLM", GROUPED | {"attention_bias": True, "mlp_bias": True}
    ),
    "odd_tied": Architecture("LlamaConfig", "LlamaForCausalLM", GROUPED | {"tie_word_embeddings": True}),
    "odd_one_group": Architecture("LlamaConfig", "LlamaForCausalLM", SMALL | {"num_key_value_heads": 1}),
    "odd_all_groups": Architecture("LlamaConfig", "LlamaForCausalLM", SMALL | {"num_key_value_heads": 4}),
    "odd_not_divisible": Architecture(
        "Qwen3Config",
        "Qwen3ForCausalLM",
        GROUPED | {"hidden_size": 58, "intermediate_size": 75, "head_dim": 16},
    ),
    "odd_bare": Architecture("LlamaConfig", "LlamaModel", GROUPED),
    "odd_alternating": Architecture(
        "Gemma2Config",
        "Gemma2ForCausalLM",
        GROUPED | {"num_hidden_layers": 4, "head_dim": 16, "sliding_window": 4},
    ),
    "odd_deep": Architecture("MistralConfig", "MistralForCausalLM", GROUPED | {"num_hidden_layers": 7}),
    "odd_gated_t5": Architecture(
        "T5Config",
        "T5ForConditionalGeneration",
        {"vocab_size": 120, "d_model": 52, "d_kv": 12, "d_ff": 80, "num_heads": 4, "num_layers": 2}
        | {"num_decoder_layers": 3, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
        | {"decoder_start_token_id": 0},
    ),
    "odd_regression": Architecture("BertConfig", "BertForTokenClassification", SMALL | {"hidden_size": 48}),
}

MODELS: Mapping[str, Architecture] = {
    **{spec.name: Architecture(spec.config, spec.model, spec.overrides) for spec in LANGUAGE},
    **{
        spec.name: Architecture(spec.config, spec.model, spec.overrides)
        for spec in VISION_AND_SOUND
        if spec.name in SEEING
    },
    **ODD,
}


def build(name: str, folder: Path) -> None:
    """Writes a model of the architecture, with random weights on which every output depends."""
    torchvision_ops.ensure()
    import transformers

    made = MODELS[name]
    config = getattr(transformers, made.config)(**{"num_labels": 5, **made.overrides})
    torch.manual_seed(0)
    model: nn.Module = getattr(transformers, made.model)(config).eval()
    values = Lively(model, 0)
    with torch.no_grad():
        for tensor_name, tensor in model.named_parameters():
            tensor.copy_(values[tensor_name])
    model.save_pretrained(folder)  # type: ignore[operator]

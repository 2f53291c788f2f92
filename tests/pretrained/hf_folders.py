"""Folders of small models of transformers, as save_pretrained writes them, with weights on which outputs depend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from graphprune.pretrained.blueprint import Blueprint
from graphprune.verifying import Lively
from models_zoo import torchvision_ops

TEXT = {"vocab_size": 120, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SMALL = TEXT | {"hidden_size": 64, "intermediate_size": 88, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = SMALL | {"num_key_value_heads": 2, "max_position_embeddings": 64}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", GROUPED),
    "gpt2": (
        "GPT2Config",
        "GPT2LMHeadModel",
        TEXT | {"n_embd": 48, "n_inner": 80, "n_layer": 2, "n_head": 4, "n_positions": 40},
    ),
    "electra": ("ElectraConfig", "ElectraForSequenceClassification", SMALL | {"embedding_size": 20}),
    "bert": ("BertConfig", "BertForMaskedLM", SMALL),
    "gemma": ("Gemma2Config", "Gemma2ForCausalLM", GROUPED | {"head_dim": 16, "sliding_window": 5}),
    "mixtral": (
        "MixtralConfig",
        "MixtralForCausalLM",
        GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "t5": (
        "T5Config",
        "T5ForConditionalGeneration",
        {"vocab_size": 120, "d_model": 52, "d_kv": 12, "d_ff": 80, "num_heads": 4, "num_layers": 2}
        | {"tie_word_embeddings": False, "decoder_start_token_id": 0},
    ),
    "marian": (
        "MarianConfig",
        "MarianMTModel",
        TEXT
        | {"d_model": 48, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4}
        | {"decoder_attention_heads": 4, "encoder_ffn_dim": 80, "decoder_ffn_dim": 88}
        | {"max_position_embeddings": 40, "decoder_start_token_id": 2},
    ),
    "vit": ("ViTConfig", "ViTForImageClassification", SMALL | {"image_size": 40, "patch_size": 8}),
}


def library() -> Any:
    torchvision_ops.ensure()
    return pytest.importorskip("transformers")


def blueprint(kind: str, **more: Any) -> Blueprint:
    config, model, numbers = KINDS[kind]
    transformers = library()
    made = getattr(transformers, config)(**{**numbers, **more})
    return Blueprint(getattr(transformers, model), type(made), made.to_dict())


def written(
    kind: str, folder: Path, dtype: torch.dtype = torch.float32, shard: str = "5GB", **more: Any
) -> Path:
    """The folder, with lively weights."""
    made = blueprint(kind, **more)
    torch.manual_seed(0)
    model: nn.Module = made.model(made.configuration())
    values = Lively(model, 0)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            tensor.copy_(values[name])
    model.config.use_cache = True
    model.to(dtype).save_pretrained(folder, max_shard_size=shard)  # type: ignore[operator]
    return folder

"""Folders of weights that tests write, and a small Llama to write into them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphprune.weights import form_of, write_shards
from models_zoo import torchvision_ops

VOCABULARY, ROWS, LENGTH = 100, 2, 16


def write(folder: Path, tensors: Mapping[str, Tensor], most: int = 5 * 10**9) -> list[str]:
    """The names of the files that were written."""
    folder.mkdir(parents=True, exist_ok=True)
    forms = {name: form_of(tensor) for name, tensor in tensors.items()}
    return [path.name for path in write_shards(folder, tensors.items(), forms, most)]


def read_head(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return json.loads(file.read(int.from_bytes(file.read(8), "little")))


def tokens(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"input_ids": torch.randint(VOCABULARY, (ROWS, LENGTH), generator=generator)}


def llama(dtype: torch.dtype = torch.float32, values: bool = True) -> nn.Module:
    """Of width 64, with two layers."""
    torchvision_ops.ensure()
    transformers = pytest.importorskip("transformers")
    accelerate = pytest.importorskip("accelerate")
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        use_cache=False,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    if values:
        return transformers.LlamaForCausalLM._from_config(config, dtype=dtype).eval()
    with accelerate.init_empty_weights(include_buffers=False):
        return transformers.LlamaForCausalLM._from_config(config, dtype=dtype).eval()

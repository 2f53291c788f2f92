"""Repairs of transformers: only what reads a cut is refitted, and outputs come nearer on tokens not seen before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from models_zoo import torchvision_ops

torchvision_ops.ensure()
transformers = pytest.importorskip("transformers")

WORDS = 61
COMMON = {"vocab_size": WORDS, "use_cache": False, "attn_implementation": "sdpa"}
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
# the class, its sizes, the layers that make the inner widths and those that read them
MODELS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "llama": ("LlamaForCausalLM", SIZES | {"num_key_value_heads": 2}, "mlp.gate_proj", "mlp.down_proj"),
    "bert": ("BertForMaskedLM", SIZES, "intermediate.dense", "output.dense"),
    "gpt2": (
        "GPT2LMHeadModel",
        {"n_embd": 32, "n_inner": 64, "n_layer": 2, "n_head": 4, "n_positions": 64},
        "mlp.c_fc",
        "mlp.c_proj",
    ),
}


def made(name: str) -> nn.Module:
    kind, sizes, *_ = MODELS[name]
    owner = getattr(transformers, kind)
    torch.manual_seed(0)
    model = owner(owner.config_class(**COMMON | sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.2 if parameter.dim() > 1 else 0.8))
    return model


def distance(model: nn.Module, slim: nn.Module, ids: Tensor) -> float:
    with torch.no_grad():
        own, given = (each(input_ids=ids)["logits"] for each in (model, slim))
    return float((own - given).square().sum() / own.square().sum())


@pytest.mark.parametrize("limit", [4096, 10])
@pytest.mark.parametrize("name", MODELS)
def test_readers_of_what_was_cut_come_nearer_on_other_tokens(
    name: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From sums, and from rows as they are held for wide layers."""
    monkeypatch.setattr("graphprune.repair.refit.LIMIT", limit)
    model, (_, _, makers, readers) = made(name), MODELS[name]
    seen, unseen = torch.randint(WORDS, (48, 16)), torch.randint(WORDS, (16, 16))
    batches = [{"input_ids": ids} for ids in seen.split(8)]
    graph = gp.trace(model, {"input_ids": seen[:2]}, outputs=["logits"])
    inner = [
        group.name
        for group in graph.groups
        if any(m.layer.endswith(makers) for m in group.members) and group.size == 64
    ]
    assert len(inner) == 2
    results = [
        gp.shrink(
            graph,
            None,
            params=0.9,
            align=1,
            importance="contribution",
            calibration=batches,
            ties=[inner],
            protect=[group.name for group in graph.groups if group.name not in inner],
            repair=repair,
        )
        for repair in (False, True)
    ]
    assert [len(result.plan.groups[group]) for result in results for group in inner]
    before, after = (distance(model, result.model, unseen) for result in results)
    assert after < 0.8 * before
    steps = results[1].repair.steps
    weights = {step.layer for step in steps if step.kind == "weights"}
    assert len(weights) == 2
    assert all(layer.endswith(readers) for layer in weights)
    assert {step.kind for step in steps} <= {"weights", "bias", "none"}


def test_layers_that_lost_nothing_keep_their_weights() -> None:
    """In a Llama, which has no biases, they are no steps at all."""
    model = made("llama")
    ids = torch.randint(WORDS, (24, 16))
    result = gp.shrink(
        model,
        {"input_ids": ids[:2]},
        outputs=["logits"],
        ratios={"model.layers.0.mlp.gate_proj": 0.25},
        protect=("*.self_attn.*", "model.embed_tokens", "model.layers.1.mlp.*"),
        params=0.99,
        align=1,
        importance="contribution",
        calibration=[{"input_ids": each} for each in ids.split(8)],
        repair=True,
    )
    assert [step.layer for step in result.repair.steps] == ["model.layers.0.mlp.down_proj"]
    assert result.repair.tensors == ("model.layers.0.mlp.down_proj.weight",)

"""Criteria for transformers, against their formulas worked out by hooks on the library's own model."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from models_zoo import torchvision_ops

torchvision_ops.ensure()
transformers = pytest.importorskip("transformers")

WORDS, HIDDEN, INNER = 61, 32, 44
COMMON = {"vocab_size": WORDS, "use_cache": False, "attn_implementation": "sdpa"}
SIZES = {
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": (
        "LlamaConfig",
        "LlamaForCausalLM",
        SIZES | {"num_key_value_heads": 2, "tie_word_embeddings": True},
    ),
    "bert": ("BertConfig", "BertForMaskedLM", SIZES),
    "gpt2": (
        "GPT2Config",
        "GPT2LMHeadModel",
        {"n_embd": HIDDEN, "n_inner": INNER, "n_layer": 2, "n_head": 4, "n_positions": 64},
    ),
    "falcon": (  # which turns its weights itself
        "FalconConfig",
        "FalconForCausalLM",
        SIZES | {"ffn_hidden_size": INNER, "parallel_attn": False, "alibi": False},
    ),
}
# of each model the group of an inner width, the layer that reads it, and the layer that is given the sum
WIDTHS = {
    "llama": ("model.layers.0.mlp.gate_proj.weight:0", "model.layers.0.mlp.down_proj", "model.layers.1"),
    "bert": (
        "bert.encoder.layer.0.intermediate.dense.weight:0",
        "bert.encoder.layer.0.output.dense",
        "bert.encoder.layer.0.output.LayerNorm",
    ),
    "gpt2": ("transformer.h.0.mlp.c_fc.weight:1", "transformer.h.0.mlp.c_proj", "transformer.h.1"),
    "falcon": (
        "transformer.h.0.mlp.dense_h_to_4h.weight:0",
        "transformer.h.0.mlp.dense_4h_to_h",
        "transformer.h.1",
    ),
}


@lru_cache(None)
def traced(name: str) -> tuple[nn.Module, gp.DependencyGraph, Tensor]:
    """A random model whose norms are lively, its graph, and three rows of words."""
    config, kind, sizes = MODELS[name]
    torch.manual_seed(0)
    model = getattr(transformers, kind)(getattr(transformers, config)(**COMMON | sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.dim() > 1 else 0.8))
    ids = torch.randint(WORDS, (3, 9))
    return model, gp.trace(model, {"input_ids": ids[:2]}, outputs=["logits"]), ids


def scores(name: str, criterion: str, normalise: str = "none") -> dict[str, Tensor | None]:
    _, graph, ids = traced(name)
    batches = [{"input_ids": ids[:1]}, {"input_ids": ids[1:]}]
    return gp.Criterion(criterion, normalise=normalise, calibration=batches)(graph, graph.program.tensors, 0)


def seen(name: str, layer: str, what: str) -> Tensor:
    """What a layer of the user's own model is given, or gives: ``[positions, width]`` in float64."""
    model, _, ids = traced(name)
    found: list[Tensor] = []

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(args[0] if what == "input" else output)

    handle = model.get_submodule(layer).register_forward_hook(hook)
    with torch.no_grad():
        model(ids)
    handle.remove()
    return found[0].flatten(0, -2).double()


def columns(name: str, layer: str) -> Tensor:
    """The squared norm of what each input of a linear layer is multiplied with; GPT-2's are turned round."""
    weight = traced(name)[0].get_submodule(layer).weight.detach().double()
    return weight.square().sum(1 if name == "gpt2" else 0)


def shares(name: str, reader: str, total: Tensor) -> Tensor:
    """The mean over positions of each input's share."""
    added = seen(name, reader, "input").square() * columns(name, reader)
    return (added / total.square().sum(1, keepdim=True)).mean(0)


@pytest.mark.parametrize("name", MODELS)
def test_a_contribution_is_the_share_of_the_sum_that_it_goes_into(name: str) -> None:
    group, reader, after = WIDTHS[name]
    expected = shares(name, reader, seen(name, after, "input"))
    assert expected.min() < expected.max() / 2
    torch.testing.assert_close(scores(name, "contribution")[group], expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_fluctuation_is_the_variance_times_squared_weights(name: str) -> None:
    group, reader, _ = WIDTHS[name]
    expected = seen(name, reader, "input").var(0, correction=0) * columns(name, reader)
    torch.testing.assert_close(scores(name, "fluctuation")[group], expected, rtol=1e-4, atol=1e-9)


def test_a_unit_of_grouped_queries_is_all_that_its_reader_loses() -> None:
    """A group of keys and values has two queries of eight columns each."""
    layer = "model.layers.0.self_attn"
    positions = shares(
        "llama", f"{layer}.o_proj", seen("llama", "model.layers.0.post_attention_layernorm", "input")
    )
    by_head = positions.reshape(2, 2, 8)
    found = scores("llama", "contribution")
    torch.testing.assert_close(found[f"{layer}.q_proj.weight:0/0"], by_head.sum((1, 2)), rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(found[f"{layer}.q_proj.weight:0/1"], by_head.sum(2), rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(found[f"{layer}.v_proj.weight:0/1"], by_head.sum(1), rtol=1e-4, atol=1e-9)


READERS = [
    f"model.layers.{layer}.{name}"
    for layer in (0, 1)
    for name in (*(f"self_attn.{part}_proj" for part in "qkv"), "mlp.gate_proj", "mlp.up_proj")
]


def test_the_hidden_width_is_read_behind_every_norm() -> None:
    """The last reader is the table of words, which makes the width too."""
    found = scores("llama", "contribution")["model.embed_tokens.weight:1"]
    expected = sum(
        shares("llama", reader, seen("llama", reader, "output")) for reader in (*READERS, "lm_head")
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("criterion", "over_positions"),
    [
        ("activation_norm", lambda x: x.square().mean(0).sqrt()),
        ("activation_mean:sum", lambda x: x.abs().mean(0)),
    ],
)
def test_norms_outputs_are_summed_over_layers(
    criterion: str, over_positions: Callable[[Tensor], Tensor]
) -> None:
    """As in Minitron: Muralidharan et al., "Compact Language Models via Pruning and Knowledge Distillation" (2024)."""
    norms = [
        f"model.layers.{layer}.{name}_layernorm" for layer in (0, 1) for name in ("input", "post_attention")
    ]
    expected = sum(over_positions(seen("llama", norm, "output")) for norm in (*norms, "model.norm"))
    name, _, aggregate = criterion.partition(":")
    _, graph, ids = traced("llama")
    chosen = gp.Criterion(name, aggregate, "none", [{"input_ids": ids}])
    found = chosen(graph, graph.program.tensors, 0)["model.embed_tokens.weight:1"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)


def test_rotary_columns_are_not_judged_by_what_nobody_reads() -> None:
    assert scores("llama", "contribution")["model.layers.0.self_attn.q_proj.weight:0/2"] is None


class Strided(nn.Module):
    """Positions of a strided convolution do not line up with those of what it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu()).sum((2, 3))


def test_where_positions_do_not_line_up_all_count_together() -> None:
    torch.manual_seed(0)
    model, x = Strided().eval(), torch.randn(5, 3, 7, 7)
    graph = gp.trace(model, x[:2])
    found = gp.Criterion("contribution", calibration=[x])(graph, graph.program.tensors, 0)
    with torch.no_grad():
        inner = model.first(x).relu()
        total = model.second(inner).double().square().sum()
    weights = model.second.weight.detach().double().square().sum((0, 2, 3))
    expected = inner.double().square().sum((0, 2, 3)) * weights / total
    torch.testing.assert_close(found["first.weight:0"], expected, rtol=1e-4, atol=1e-9)

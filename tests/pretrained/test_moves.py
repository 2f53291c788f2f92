"""Fields of a configuration that rule widths: found by building the class, proved on lively weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hf_folders import KINDS, blueprint, written

import graphprune as gp
from graphprune.pretrained.blueprint import Refused, shown
from graphprune.pretrained.examples import example_inputs, input_names, output_names, task_outputs
from graphprune.pretrained.families import Family
from graphprune.pretrained.move import Move, fields_at
from graphprune.pretrained.moves import Moves, find_moves
from graphprune.pretrained.open_fields import with_open_fields
from graphprune.verifying import Lively


@cache
def found(kind: str) -> Moves:
    made = blueprint(kind)
    model = made.built()
    values = Lively(model, 0)
    for name, tensor in model.named_parameters():
        tensor.data.copy_(values[name])
    inputs = example_inputs(input_names(model, model.config), model.config)
    graph = gp.trace(model, inputs, outputs=task_outputs(output_names(model, inputs)))
    return find_moves(with_open_fields(made, graph), graph)


def fields(kind: str) -> dict[str, tuple[int, int]]:
    """Fields of a move, joined → how wide what they rule is, and the multiple."""
    return {"+".join(map(shown, move.fields)): (move.size, move.step) for move in found(kind).moves}


def test_a_decoder_has_a_hidden_width_whole_groups_queries_and_an_inner_width() -> None:
    assert fields("llama") == {
        "hidden_size": (64, 4),  # the class refuses what is no multiple of its heads
        "num_attention_heads+num_key_value_heads": (2, 1),
        "num_attention_heads": (2, 1),
        "intermediate_size": (88, 1),
    }
    reasons = {family.kind: why for family, why in found("llama").held.items()}
    assert "head_dim" in reasons["model.layers.#.self_attn.v_proj.weight:0/1"]


def test_heads_go_with_the_hidden_width_where_a_class_makes_them_as_wide_as_that() -> None:
    assert fields("bert") == {"hidden_size+num_attention_heads": (4, 1), "intermediate_size": (88, 1)}
    move = found("bert").moves[0]
    sizes = {family.kind: family.size for family in move.families}
    assert sizes["bert.embeddings.word_embeddings.weight:1"] == 64
    assert move.sizes(3)["bert.embeddings.word_embeddings.weight:1"] == 48


def test_constants_in_code_hold_a_width() -> None:
    """Gemma multiplies embeddings with the root of the hidden size."""
    assert not any("hidden_size" in name for name in fields("gemma"))
    reasons = {family.kind: why for family, why in found("gemma").held.items()}
    why = reasons["model.embed_tokens.weight:1"]
    assert "with hidden_size the class computes otherwise" in why


def test_kernels_want_multiples_and_undeclared_fields_are_found() -> None:
    moves = {"+".join(map(shown, move.fields)): move for move in found("mixtral").moves}
    assert moves["intermediate_size"].grain == 4  # 16 bytes in single precision
    assert (
        "hidden_size" in moves
    )  # alone, since head_dim, which the class reads and does not declare, was said


def test_both_parts_of_an_encoder_decoder_follow_one_field() -> None:
    assert {"num_heads": (4, 1), "d_kv": (12, 1), "d_ff": (80, 1)}.items() <= fields("t5").items()
    kinds = {f.kind.split(".")[0] for move in found("t5").moves for f in move.families if move.size == 80}
    assert kinds == {"encoder", "decoder"}


def test_a_width_of_tensors_that_no_file_holds_is_held() -> None:
    """Marian's sinusoids are computed for the width, and not a part of those of another one."""
    assert fields("marian") == {"encoder_ffn_dim": (80, 1), "decoder_ffn_dim": (88, 1)}
    assert any("in no file" in why for why in found("marian").held.values())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "marian"])
def test_all_moves_at_once_are_right(kind: str) -> None:
    assert not any("together" in why for why in found(kind).held.values())
    assert found(kind).moves


def test_a_field_follows_the_product_of_two_widths() -> None:
    groups, queries = Family("g", 3, ("g",)), Family("q", 4, ("q",))
    heads = ("heads",)
    moves = [Move((groups,), (heads, ("groups",))), Move((queries,), (heads,))]
    numbers = {heads: 12, ("groups",): 3}
    assert fields_at(numbers, moves, {"g": 2, "q": 2}) == {heads: 4, ("groups",): 2}
    assert fields_at(numbers, moves, {}) == {}
    with pytest.raises(Refused, match="heads would be 16/3"):
        fields_at({heads: 8, ("groups",): 3}, moves[:1], {"g": 2})


def test_fields_of_axes_that_are_pinned_are_said_with_the_reason(tmp_path: Path) -> None:
    """A router chooses experts by the data, and words are looked up."""
    fixed = gp.inspect_pretrained(written("mixtral", tmp_path / "model"))["fixed"]
    assert fixed["num_local_experts"].startswith("which positions are chosen is data")
    assert fixed["num_local_experts"].endswith("(at model.layers.0.mlp.gate)")
    assert fixed["vocab_size"].startswith("rows are looked up by index")
    assert set(fixed) == {"num_local_experts", "vocab_size"}

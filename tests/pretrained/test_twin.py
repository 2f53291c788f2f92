"""Small twins: the same class, narrower and shallower, with each number still known by its size."""

from __future__ import annotations

import pytest
from hf_folders import blueprint

from graphprune.pretrained.blueprint import Refused, numbers
from graphprune.pretrained.twin import parameters, small_twin

LARGE = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}


def test_a_twin_of_seven_billion_is_small() -> None:
    made = blueprint("llama", **LARGE)
    twin = small_twin(made)
    assert parameters(made.shapes()) > 5e9
    assert parameters(twin.shapes()) < 1e7
    values = twin.values
    assert values["num_hidden_layers"] == 2
    assert values["hidden_size"] % values["num_attention_heads"] == 0
    assert values["num_attention_heads"] % values["num_key_value_heads"] == 0 < values["num_key_value_heads"]


def test_numbers_that_differ_stay_different_and_equal_ones_equal() -> None:
    made = blueprint("llama", **LARGE | {"num_key_value_heads": 32})
    before, after = numbers(made.values), numbers(small_twin(made).values)
    ruled = [("hidden_size",), ("intermediate_size",), ("num_attention_heads",), ("num_key_value_heads",)]
    for one in ruled:
        for other in ruled:
            assert (before[one] == before[other]) == (after[one] == after[other])


def test_lists_of_layers_are_cut_with_the_depth() -> None:
    made = blueprint("gemma", **LARGE)
    twin = small_twin(made, 4)
    assert twin.values["num_hidden_layers"] == len(twin.values["layer_types"]) == 4
    assert twin.values["layer_types"] == made.values["layer_types"][:4]


def test_a_small_model_is_its_own_twin() -> None:
    made = blueprint("llama")
    assert small_twin(made) is made


def test_what_a_class_does_not_take_is_refused_in_one_line() -> None:
    made = blueprint("llama").with_numbers({("hidden_size",): 63})
    with pytest.raises(Refused, match="hidden size") as caught:
        made.shapes()
    assert "\n" not in str(caught.value)


def test_fields_that_are_read_and_not_declared_are_found() -> None:
    assert "head_dim" in blueprint("vit").missing()

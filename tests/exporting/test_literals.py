"""Arguments as JSON."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import fx

from graphprune.exporting.literals import decode, encode
from graphprune.ground.errors import InputError

VALUES = [
    None,
    True,
    3,
    2**70,
    0.1,
    1.0,
    float("inf"),
    "a\n\"b'",
    1 + 2j,
    ...,
    [1, (2, [])],
    (),
    {"a": (1,), 2: None, (1, 2): []},
    slice(None, -1, 2),
    torch.bfloat16,
    torch.channels_last,
    torch.strided,
    torch.device("cuda:1"),
]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_value_survives_json(value) -> None:
    again = decode(json.loads(json.dumps(encode(value), allow_nan=False)), {})
    assert again == value
    assert type(again) is type(value)


def test_integers_floats_and_nan_stay_what_they_are() -> None:
    assert type(decode(json.loads(json.dumps(encode(2.0))), {})) is float
    assert math.isnan(decode(encode(float("nan")), {}))
    assert decode(encode(torch.Size([2, 3])), {}) == (2, 3)


def test_nodes_are_looked_up_by_name() -> None:
    node = fx.Graph().placeholder("x")
    data = encode({"a": [node, slice(node, None)]})
    assert decode(data, {"x": node}) == {"a": [node, slice(node, None)]}
    with pytest.raises(InputError, match="unknown node 'x'"):
        decode(data, {})


@pytest.mark.parametrize(
    "value",
    [object(), torch.zeros(1), print, {1}, torch.nn.Linear, range(3)],
    ids=lambda value: type(value).__name__,
)
def test_other_values_are_refused(value) -> None:
    with pytest.raises(InputError, match="cannot be stored"):
        encode(value)

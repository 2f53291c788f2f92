"""Every small model builds, runs and gives finite values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from graphprune.ground.errors import WeightsError
from models_zoo import wheels
from models_zoo.blocks import BLOCKS
from models_zoo.small_transformers import SMALL_TRANSFORMERS, SmallModel


def floats(value: Any) -> list[Tensor]:
    """The floating-point tensors in what a forward call returns, however it is nested."""
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [leaf for part in parts for leaf in floats(part)]


@torch.no_grad()
def run(row: SmallModel, batch: int) -> list[Tensor]:
    args, kwargs = row.example_inputs(batch)
    return floats(row.build()(*args, **kwargs))


def check(row: SmallModel) -> None:
    outputs = run(row, 2)
    assert outputs
    assert all(torch.isfinite(output).all() for output in outputs)
    for first, second in zip(outputs, run(row, 2), strict=True):
        assert torch.equal(first, second), "the same weights and inputs at each call"


@pytest.mark.parametrize("name", SMALL_TRANSFORMERS)
def test_small_transformers(name: str) -> None:
    try:
        wheels.require("transformers")
    except WeightsError as error:
        pytest.skip(str(error))
    check(SMALL_TRANSFORMERS[name])


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(name: str) -> None:
    check(BLOCKS[name])


@pytest.mark.parametrize("table", [SMALL_TRANSFORMERS, BLOCKS], ids=["transformers", "blocks"])
def test_names(table: dict[str, SmallModel]) -> None:
    assert [row.name for row in table.values()] == list(table)

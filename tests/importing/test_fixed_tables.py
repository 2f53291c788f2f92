"""Constants that are no weights are known by what they hold, and keep their size unless asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import graphprune as gp
from graphprune.importing.tables import table_kind
from tests.importing.building import graph_of, node
from tests.importing.test_tracing import normal

RANDOM = np.random.default_rng(0)
TIME = np.arange(64)


def fourier(window: Any = 1.0) -> Any:
    frequencies = np.arange(33)[:, None]
    waves = [function(2 * np.pi * frequencies * TIME / 64) for function in (np.cos, np.sin)]
    return (np.concatenate(waves) * window).astype(np.float32)[:, None]


def positions() -> Any:
    angles = np.arange(50)[:, None] / 100 ** (np.arange(16) / 16)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)[None]


def bank() -> Any:
    centres = np.linspace(4, 56, 12)[:, None]
    return np.maximum(0, 1 - np.abs(TIME - centres) / 5)


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (fourier(), "waves"),
        (fourier(np.hanning(64)), "waves"),
        (positions(), "waves"),
        (bank(), "a filter bank"),
        (bank().T, "a filter bank"),
        (np.arange(16.0).reshape(1, 16, 1, 1), "numbers in equal steps"),
        (
            np.stack(np.meshgrid(np.arange(9) + 0.5, np.arange(7) + 0.5), -1).reshape(1, -1, 2),
            "whole and half numbers",
        ),
    ],
)
def test_a_table_is_known(array: Any, kind: str) -> None:
    assert table_kind(array.astype(np.float32)) == kind


@pytest.mark.parametrize(
    "array",
    [
        RANDOM.normal(size=(32, 3, 7, 7)),
        RANDOM.normal(size=(64, 1, 128)).cumsum(-1),  # smooth filters
        np.abs(RANDOM.normal(size=(64, 64))),
        RANDOM.normal(size=(64, 64)) * (RANDOM.random((64, 64)) < 0.3),  # sparse weights
        np.round(RANDOM.normal(size=(64, 64)) * 20) * 0.0123,  # weights of a few levels
        np.ones(64),
        np.zeros((64, 64)),
        np.eye(3),
    ],
)
def test_weights_are_none(array: Any) -> None:
    assert table_kind(array.astype(np.float32)) == ""


@pytest.fixture
def recogniser(tmp_path: Path) -> Path:
    """A spectrum by a convolution, and layers behind it."""
    nodes = [
        node("Conv", ["sound", "basis"], ["spectrum"], name="stft", strides=[32]),
        node("Mul", ["spectrum", "spectrum"], ["power"]),
        node("Conv", ["power", "w1"], ["a"], name="first"),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "w2"], ["y"], name="second"),
    ]
    constants = {"basis": fourier(np.hanning(64)), "w1": normal(16, 66, 3), "w2": normal(4, 16, 1)}
    path = tmp_path / "recogniser.onnx"
    onnx.save(graph_of(nodes, {"sound": [1, 1, 512]}, ["y"], constants), path)
    return path


def test_tables_keep_their_size_unless_asked_for(recogniser: Path) -> None:
    held = gp.shrink(recogniser, ratio=0.5, align=1)
    assert any("stft (waves)" in note for note in held.graph.program.notes)
    assert set(held.plan.kept) == {"first.weight", "second.weight"}
    assert set(held.plan.kept["first.weight"]) == {0}
    cut = gp.shrink(recogniser, ratio=0.5, align=1, cut_tables=True)
    assert cut.plan.kept["stft.weight"][0].tolist()
    assert cut.plan.request["cut_tables"]
    with pytest.raises(gp.BudgetError, match="cut_tables cuts them too"):
        gp.plan(recogniser, macs=0.01, align=1)


def test_cut_tables_is_for_files() -> None:
    import torch

    with pytest.raises(gp.InputError, match="cut_tables is for ONNX files"):
        gp.shrink(torch.nn.Sequential(torch.nn.Linear(4, 4)), torch.ones(1, 4), ratio=0.5, cut_tables=True)

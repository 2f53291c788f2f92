"""Rows for the operators of `graphprune.axes.rules.recurrent`."""

from __future__ import annotations

import torch
from draws import Make, Row, on, rows, x

__all__ = ["ROWS"]

_GATES = {"lstm": "4", "gru": "3", "rnn_tanh": "1", "rnn_relu": "1"}


def _weights(gates: str, feed: str, biases: bool, given: str = "h", cells: str = "h") -> list[object]:
    """The tensors of one layer in one direction."""
    vectors = [x(f"({gates} {cells})"), x(f"({gates} {cells})")] if biases else []
    matrices = [x(f"({gates} {cells}) {feed}"), x(f"({gates} {cells}) {given}")]
    return [*matrices, *vectors, *([x(f"{given} {cells}")] if given != cells else [])]


def _layers(
    name: str,
    depth: int = 1,
    *,
    both: bool = False,
    biases: bool = True,
    first: bool = True,
    projected: bool = False,
) -> Make:
    """``depth`` layers on 3 steps; states are given, not zero."""
    (given, cells), directions = ("3", "4") if projected else ("h", "h"), 2 if both else 1
    state = [x(f"{depth * directions} n {width}") for width in (given, cells)]
    feeds = ["i", *[f"({directions} {given})"] * (depth - 1)]
    weights = [
        w
        for feed in feeds
        for _ in range(directions)
        for w in _weights(_GATES[name], feed, biases, given, cells)
    ]
    options = (biases, depth, 0.0, False, both, first)
    return on(x("n 3 i" if first else "3 n i"), state if name == "lstm" else state[0], weights, *options)


def _cell(name: str, *, biases: bool = True) -> Make:
    matrices = _weights(_GATES[name], "i", False)
    vectors = [x(f"({_GATES[name]} h)")] * 2 if biases else []
    return on(x("n i"), [x("n h"), x("n h")] if name == "lstm" else x("n h"), *matrices, *vectors)


def _packed(name: str) -> Make:
    """Two sequences, of 3 steps and of 2."""
    state = [x("1 2 h"), x("1 2 h")]
    weights = _weights(_GATES[name], "i", True)
    lengths = torch.tensor([2, 2, 1])
    options = (True, 1, 0.0, False, False)
    return on(x("5 i"), lengths, state if name == "lstm" else state[0], weights, *options)


def _of(name: str) -> list[Row]:
    return [
        *rows(
            f"{name}.input",
            _layers(name),
            _layers(name, both=True, first=False),
            _layers(name, 2, biases=False),
            _layers(name, 2, both=True),
            feeds_back="params",
            crashes=name == "lstm",
        ),
        *rows(f"{name}_cell", _cell(name), _cell(name, biases=False), feeds_back="w_hh"),
        *rows(f"{name}.data", _packed(name), crashes=True),
    ]


_PROJECTED = rows(
    "lstm.input",
    _layers("lstm", projected=True),
    _layers("lstm", 2, both=True, projected=True, biases=False),
    feeds_back="params",
    crashes=True,
    note="projected ",
)

ROWS = [*(row for name in _GATES for row in _of(name)), *_PROJECTED]

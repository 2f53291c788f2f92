"""Recurrent layers: torch's own where it has them, with the gates of the file's weights in torch's order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphprune.importing.node import Node, Operator

__all__ = ["OPERATORS"]

# torch's gates, as their places among those of ONNX
_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
_ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


@dataclass(frozen=True)
class Layer:
    """The tensors of a recurrent node; weights by direction, in torch's order of gates."""

    x: Tensor
    weights: list[list[Tensor]]
    states: list[Tensor]

    @property
    def flat(self) -> list[Tensor]:
        return [tensor for weights in self.weights for tensor in weights]


def _by_gate(stored: Tensor, direction: int, gates: Sequence[int], count: int) -> list[Tensor]:
    """``count`` tensors of one direction, each with its rows in the order of ``gates``."""
    rows = stored[direction].reshape(count, len(gates), -1, *stored.shape[2:])
    return [torch.cat([rows[part, gate] for gate in gates]) for part in range(count)]


def _layer(
    node: Node, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None, states: Sequence[Tensor | None]
) -> Layer:
    gates = _GATES[node.operator]
    directions = w.shape[0]
    if node["layout"]:
        x = x.transpose(0, 1)
        states = [None if state is None else state.transpose(0, 1) for state in states]
    if node["direction"] == "reverse":
        x = x.flip(0)
    weights = []
    for direction in range(directions):
        biases = [] if b is None else _by_gate(b, direction, gates, 2)
        weights.append([*_by_gate(w, direction, gates, 1), *_by_gate(r, direction, gates, 1), *biases])
    shape = (directions, x.shape[1], r.shape[2])
    for state in states:  # torch does not look at it, and reads memory that is not there
        if state is not None and tuple(state.shape) != shape:
            raise node.refusal(f"its first state is {tuple(state.shape)}, and must be {shape}")
    zeros = torch.zeros(shape, dtype=x.dtype)
    return Layer(x, weights, [zeros if state is None else state for state in states])


def _results(node: Node, y: Tensor, states: Sequence[Tensor], directions: int) -> tuple[Tensor, ...]:
    """As ONNX lays them out; ``y`` is (time, batch, directions · hidden)."""
    y = y.reshape(y.shape[0], y.shape[1], directions, -1)
    y = y.flip(0) if node["direction"] == "reverse" else y
    if node["layout"]:
        return y.transpose(0, 1), *(state.transpose(0, 1) for state in states)
    return y.transpose(1, 2), *states


def _check(node: Node, lengths: Any, peepholes: Any = None) -> None:
    """Refuses what torch's layers do not have."""
    if lengths is not None:
        raise node.refusal("its sequences have lengths of their own (sequence_lens)")
    if peepholes is not None or node["clip"] or node["input_forget"]:
        raise node.refusal("it has peepholes, clip or input_forget")
    given = [name.lower() for name in node["activations"] or ()]
    usual = [name.lower() for name in _ACTIVATIONS[node.operator]]
    rectified = node.operator == "RNN" and set(given) == {"relu"}
    if given and not rectified and given != usual * (len(given) // len(usual)):
        raise node.refusal(f"its activations are {', '.join(given)}")


def _two_ways(node: Node) -> bool:
    return bool(node["direction"] == "bidirectional")


def _lstm(node: Node, x: Tensor, w: Tensor, r: Tensor, *given: Any) -> tuple[Tensor, ...]:
    b, lengths, hidden, cell, peepholes = (*given, None, None, None, None, None)[:5]
    _check(node, lengths, peepholes)
    layer = _layer(node, x, w, r, b, [hidden, cell])
    y, *states = torch.lstm(
        layer.x, layer.states, layer.flat, b is not None, 1, 0.0, False, _two_ways(node), False
    )
    return _results(node, y, states, len(layer.weights))


def _gru(node: Node, x: Tensor, w: Tensor, r: Tensor, *given: Any) -> tuple[Tensor, ...]:
    if node["linear_before_reset"]:
        return _by_torch(torch.gru, node, x, w, r, *given)
    b, lengths, hidden = (*given, None, None, None)[:3]
    _check(node, lengths)
    layer = _layer(node, x, w, r, b, [hidden])
    y, state = _reset_first(layer)
    return _results(node, y, [state], len(layer.weights))


def _rnn(node: Node, *given: Any) -> tuple[Tensor, ...]:
    rectified = bool(node["activations"]) and node["activations"][0].lower() == "relu"
    return _by_torch(torch.rnn_relu if rectified else torch.rnn_tanh, node, *given)


def _by_torch(
    function: Callable[..., Any], node: Node, x: Tensor, w: Tensor, r: Tensor, *given: Any
) -> tuple[Tensor, ...]:
    """A layer with one state."""
    b, lengths, hidden = (*given, None, None, None)[:3]
    _check(node, lengths)
    layer = _layer(node, x, w, r, b, [hidden])
    state = layer.states[0]
    y, state = function(layer.x, state, layer.flat, b is not None, 1, 0.0, False, _two_ways(node), False)
    return _results(node, y, [state], len(layer.weights))


def _reset_first(layer: Layer) -> tuple[Tensor, Tensor]:
    """The GRU that multiplies the state by the reset gate before its product, which torch does not have."""
    outputs, states = [], []
    for direction, (w, r, *biases) in enumerate(layer.weights):
        given = layer.x.flip(0) if direction else layer.x
        rows = torch.nn.functional.linear(given, w, biases[0] + biases[1] if biases else None)
        r_reset, r_update, r_new = r.chunk(3)
        state, found = layer.states[0][direction], []
        for row in rows.unbind(0):
            x_reset, x_update, x_new = row.chunk(3, -1)
            reset = torch.sigmoid(x_reset + state @ r_reset.t())
            update = torch.sigmoid(x_update + state @ r_update.t())
            new = torch.tanh(x_new + (reset * state) @ r_new.t())
            state = (1 - update) * new + update * state
            found.append(state)
        outputs.append(torch.stack(found[::-1] if direction else found))
        states.append(state)
    return torch.cat(outputs, -1), torch.stack(states)


OPERATORS = {"GRU": Operator(_gru), "LSTM": Operator(_lstm), "RNN": Operator(_rnn)}

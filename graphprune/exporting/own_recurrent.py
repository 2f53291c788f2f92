"""Plain recurrent layers, which torch's library lacks beside LSTM and GRU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from graphprune.exporting.own_call import Call, Row

__all__ = ["RECURRENT"]


def _recurrent(activation: str) -> Row:
    """ONNX's RNN layer by layer: ``activation`` of what is read and of the state before."""

    def row(call: Call, *args: Any, **kwargs: Any) -> Any:
        given, op = call.bound(args, kwargs), call.op
        if given["train"]:
            return None
        directions = 1 + given["bidirectional"]
        each = (2 + 2 * given["has_biases"]) * directions
        x = op.Transpose(given["input"], perm=[1, 0, 2]) if given["batch_first"] else given["input"]
        lasts = []
        for layer in range(given["num_layers"]):
            tensors = given["params"][layer * each : (layer + 1) * each]
            start = op.Slice(given["hx"], [layer * directions], [(layer + 1) * directions], [0])
            every, last = op.RNN(
                x,
                *_joined(call, tensors, directions),
                None,
                start,
                activations=[activation] * directions,
                direction="bidirectional" if directions == 2 else "forward",
                hidden_size=int(tensors[1].shape[-1]),
            )
            # from steps, directions, examples, units
            x = op.Reshape(op.Transpose(every, perm=[0, 2, 1, 3]), [0, 0, -1])
            lasts.append(last)
        output = op.Transpose(x, perm=[1, 0, 2]) if given["batch_first"] else x
        return [output, op.Concat(*lasts, axis=0) if len(lasts) > 1 else lasts[0]]

    return row


def _joined(call: Call, tensors: Sequence[Any], directions: int) -> list[Any]:
    """What is read, the state before, and both biases as one, each with a dimension for the directions in front."""
    op, count = call.op, len(tensors) // directions
    parts = [tensors[place * count : (place + 1) * count] for place in range(directions)]
    rows = [[part[0] for part in parts], [part[1] for part in parts]]
    biases = [op.Concat(part[2], part[3], axis=0) for part in parts] if count == 4 else []
    made = [op.Concat(*(op.Unsqueeze(one, [0]) for one in row), axis=0) for row in (*rows, biases) if row]
    return made if biases else [*made, None]


RECURRENT: Mapping[Any, Row] = {
    torch.ops.aten.rnn_tanh.input: _recurrent("Tanh"),
    torch.ops.aten.rnn_relu.input: _recurrent("Relu"),
}

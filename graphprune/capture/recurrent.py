"""Recurrent operators as `torch.nn` layers: their tensors come as one list, their results as nested tuples."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from graphprune.capture.layer_specs import Arguments, Config, LayerSpec
from graphprune.capture.nodes import family

__all__ = ["RECURRENT"]

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_READERS = {f"aten.{name}{kind}" for name in "lstm gru rnn_tanh rnn_relu".split() for kind in ("", "_cell")}


@dataclass(frozen=True)
class _Cell(LayerSpec):
    """`nn.LSTMCell`, `nn.GRUCell` or `nn.RNNCell`, which start from zero if they are given no state."""

    def inputs(self, arguments: Arguments, constants: Mapping[str, torch.Tensor]) -> tuple[Any, ...]:
        state = arguments["hx"]
        nodes = [state] if isinstance(state, fx.Node) else list(state)
        if all(_is_zero(node, constants) for node in nodes):
            return (arguments[self.source],)
        return (arguments[self.source], state if isinstance(state, fx.Node) else tuple(state))


@dataclass(frozen=True)
class _Recurrent(_Cell):
    """`nn.LSTM`, `nn.GRU` or `nn.RNN`: cells in layers, over the steps of a sequence."""

    def owned(self, arguments: Arguments) -> dict[str, Any]:
        """Tensors layer by layer, direction by direction, in the order of `nn.RNNBase`."""
        params = arguments["params"]
        each = len(params) // (arguments["num_layers"] * (1 + arguments["bidirectional"]))
        parts = ["weight_ih", "weight_hh"] + ["bias_ih", "bias_hh"] * arguments["has_biases"]
        parts += ["weight_hr"] * (each % 2)
        ends = ["", "_reverse"] if arguments["bidirectional"] else [""]
        layers = range(arguments["num_layers"])
        names = [f"{part}_l{layer}{end}" for layer in layers for end in ends for part in parts]
        return dict(zip(names, params, strict=True))

    def results(self, called: fx.Node) -> Any:
        """The output; then the last state, or both of an LSTM."""
        output, last = _item(called, 0), _item(called, 1)
        return (output, _item(last, 0), _item(last, 1)) if self.kind == "LSTM" else (output, last)


def _is_zero(node: fx.Node, constants: Mapping[str, torch.Tensor]) -> bool:
    """Whether ``node`` is the state that a layer makes by itself; nobody else may see, or write into, it."""
    if any(family(user) not in _READERS for user in node.users):
        return False
    held = constants.get(str(node.target)) if node.op == "get_attr" else None
    return family(node) == "aten.zeros" or (held is not None and not held.any())


def _item(node: fx.Node, index: int) -> fx.Node:
    return node.graph.call_function(operator.getitem, (node, index))


def _layers(kind: str, **mode: str) -> LayerSpec:
    def computed(a: Arguments) -> Config | None:
        reading, feedback = a["params"][:2]
        hidden, given = reading.shape[0] // _GATES[kind], feedback.shape[1]
        if a["train"] or given > hidden:
            return None
        named = {name: a[name] for name in ("num_layers", "batch_first", "bidirectional")}
        named["dropout"] = a["dropout"] if a["num_layers"] > 1 else 0.0  # it is between layers
        projection = {"proj_size": given} if given < hidden else {}
        sizes = {"input_size": reading.shape[1], "hidden_size": hidden}
        return {**sizes, "bias": a["has_biases"], **named, **projection, **mode}

    return _Recurrent(kind, computed, source="input")


def _cell(kind: str, **mode: str) -> LayerSpec:
    def computed(a: Arguments) -> Config | None:
        sizes = {"input_size": a["w_ih"].shape[1], "hidden_size": a["w_hh"].shape[1]}
        return {**sizes, "bias": a["b_ih"] is not None, **mode}

    tensors = {"w_ih": "weight_ih", "w_hh": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh"}
    return _Cell(kind, computed, tensors, "input")


RECURRENT: dict[str, LayerSpec] = {
    "aten.lstm.input": _layers("LSTM"),
    "aten.gru.input": _layers("GRU"),
    "aten.lstm_cell.default": _cell("LSTMCell"),
    "aten.gru_cell.default": _cell("GRUCell"),
    **{
        row: spec
        for mode in ("tanh", "relu")
        for row, spec in (
            (f"aten.rnn_{mode}.input", _layers("RNN", nonlinearity=mode)),
            (f"aten.rnn_{mode}_cell.default", _cell("RNNCell", nonlinearity=mode)),
        )
    },
}

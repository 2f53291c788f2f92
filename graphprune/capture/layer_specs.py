"""Which ATen operators are which `torch.nn` layers: one row each.

A constructor's arguments are not listed here. Those that the operator has under the same names are handed on, and
a row adds only what must be computed, such as the widths, which the weight's shape tells.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from graphprune.capture.operators import family
from graphprune.capture.roles import ROLES

__all__ = ["PLAIN", "RECURRENT", "WEIGHTED", "LayerSpec"]

Arguments = Mapping[str, Any]
Config = dict[str, Any]

# arguments that change only how a layer is trained; "bias" is a tensor to the operator and a flag to the layer
_NOT_COPIED = ("bias", "scale_grad_by_freq", "sparse")


def _nothing(a: Arguments) -> Config:
    return {}


@dataclass(frozen=True)
class LayerSpec:
    """How the call of an operator becomes a layer.

    Args:
        kind: name of the class in `torch.nn`, or a function of the call's arguments that gives it.
        computed: the constructor's arguments that the operator does not have under the same names, from the call's
            arguments (stored tensors in the place of nodes); None if the call asks for what the layer cannot do.
        tensors: argument of the operator → name of the layer's own tensor.
        source: argument of the operator that is the layer's input.
        always: name of a layer that is made even where the user called the function, so that it obeys train() and
            eval(); "" where a function stays a function.
    """

    kind: str | Callable[[Arguments], str]
    computed: Callable[[Arguments], Config | None] = _nothing
    tensors: Mapping[str, str] = field(default_factory=dict)
    source: str = "self"
    always: str = ""

    def class_name(self, arguments: Arguments) -> str:
        """The class in `torch.nn`."""
        return self.kind if isinstance(self.kind, str) else self.kind(arguments)

    def config(self, arguments: Arguments) -> Config | None:
        """All arguments of the constructor; None if the call asks for what the layer cannot do."""
        computed = self.computed(arguments)
        taken = inspect.signature(getattr(nn, self.class_name(arguments))).parameters
        # an empty stride is the operator's way to leave it out
        named = [n for n in taken if n in arguments and n not in _NOT_COPIED and arguments[n] != []]
        if computed is None:
            return None
        given = {name: arguments[name] for name in named} | computed
        return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}

    def owned(self, arguments: Arguments) -> dict[str, Any]:
        """The layer's own tensors, by their names in it."""
        return {local: arguments.get(name) for name, local in self.tensors.items()}

    def inputs(self, arguments: Arguments, constants: Mapping[str, torch.Tensor]) -> tuple[Any, ...]:
        """What the layer is called with; ``constants`` are known by the nodes' targets."""
        return (arguments[self.source],)

    def results(self, called: fx.Node) -> Any:
        """What stands for the operator's results, one node or a tuple; ``called`` is the call of the layer."""
        return called


def _has_bias(a: Arguments) -> bool:
    return a.get("bias") is not None


def _convolution(first: str, second: str) -> Callable[[Arguments], Config]:
    """Channels by the names of the weight's first two dimensions, of which the second counts those of one group."""
    return lambda a: {
        first: a["weight"].shape[0],
        second: a["weight"].shape[1] * a["groups"],
        "kernel_size": tuple(a["weight"].shape[2:]),
        "bias": _has_bias(a),
    }


def _linear(a: Arguments) -> Config:
    outputs, inputs = a["weight"].shape
    return {"in_features": inputs, "out_features": outputs, "bias": _has_bias(a)}


def _batch_norm(a: Arguments) -> Config | None:
    if a["training"] or a["running_mean"] is None or (a["weight"] is None) != (a["bias"] is None):
        return None
    return {
        "num_features": a["running_mean"].shape[0],
        "affine": a["weight"] is not None,
        "momentum": a["momentum"] or None,  # a cumulative average is passed as 0 in eval mode
    }


def _embedding(a: Arguments) -> Config:
    count, width = a["weight"].shape
    padding = a["padding_idx"] if a["padding_idx"] >= 0 else None
    gradients = {name: a[name] for name in ("scale_grad_by_freq", "sparse")}
    return {"num_embeddings": count, "embedding_dim": width, "padding_idx": padding, **gradients}


def _by_rank(name: str) -> Callable[[Arguments], str]:
    """The class for inputs of so many dimensions: "BatchNorm2d" for images."""
    return lambda a: f"{name}{max(a['rank'] - 2, 1)}d"


_COMPUTED: dict[str, tuple[str | Callable[[Arguments], str], Callable[[Arguments], Config | None]]] = {
    **{f"aten.conv{n}d": (f"Conv{n}d", _convolution("out_channels", "in_channels")) for n in (1, 2, 3)},
    **{
        f"aten.conv_transpose{n}d": (f"ConvTranspose{n}d", _convolution("in_channels", "out_channels"))
        for n in (1, 2, 3)
    },
    "aten.linear": ("Linear", _linear),
    "aten.batch_norm": (_by_rank("BatchNorm"), _batch_norm),
    "aten.layer_norm": ("LayerNorm", lambda a: None if a["weight"] is None else {"bias": _has_bias(a)}),
    "aten.rms_norm": ("RMSNorm", _nothing),
    "aten.group_norm": (
        "GroupNorm",
        lambda a: {"num_channels": a["weight"].shape[0]} if _has_bias(a) else None,
    ),
    "aten.embedding": ("Embedding", _embedding),
    "aten.prelu": ("PReLU", lambda a: {"num_parameters": a["weight"].numel()}),
}
WEIGHTED: dict[str, LayerSpec] = {
    operator: LayerSpec(
        kind, computed, {name: name for name in ROLES[operator].stored}, ROLES[operator].source
    )
    for operator, (kind, computed) in _COMPUTED.items()
}

# class → its operator, where nothing needs to be computed
_SAME = {
    kind: f"aten.{kind.lower()}"
    for kind in "ReLU ReLU6 SiLU Mish Sigmoid Tanh Hardswish Hardsigmoid GELU Flatten".split()
} | {"LeakyReLU": "aten.leaky_relu", "PixelShuffle": "aten.pixel_shuffle"}
_POOLS = {
    f"{title}Pool{n}d": f"aten.{name}_pool{n}d"
    for title, name in (("Max", "max"), ("Avg", "avg"), ("AdaptiveAvg", "adaptive_avg"))
    for n in (1, 2, 3)
}

PLAIN: dict[str, LayerSpec] = {
    **{operator: LayerSpec(kind) for kind, operator in {**_SAME, **_POOLS}.items()},
    "aten.hardtanh": LayerSpec(lambda a: "ReLU6" if (a["min_val"], a["max_val"]) == (0, 6) else "Hardtanh"),
    "aten.elu": LayerSpec("ELU", lambda a: {} if a["scale"] == a["input_scale"] == 1 else None),
    "aten.softmax": LayerSpec("Softmax", lambda a: {} if a.get("dtype") is None else None),
    "aten.dropout": LayerSpec("Dropout", source="input", always="dropout"),
    "aten.feature_dropout": LayerSpec(_by_rank("Dropout"), source="input", always="dropout"),
}

# recurrent operators: their tensors come as one list, their results as nested tuples
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


def _recurrent(kind: str, **mode: str) -> LayerSpec:
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
    "aten.lstm.input": _recurrent("LSTM"),
    "aten.gru.input": _recurrent("GRU"),
    "aten.lstm_cell.default": _cell("LSTMCell"),
    "aten.gru_cell.default": _cell("GRUCell"),
    **{
        row: spec
        for mode in ("tanh", "relu")
        for row, spec in (
            (f"aten.rnn_{mode}.input", _recurrent("RNN", nonlinearity=mode)),
            (f"aten.rnn_{mode}_cell.default", _cell("RNNCell", nonlinearity=mode)),
        )
    },
}

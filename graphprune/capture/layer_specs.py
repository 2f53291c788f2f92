"""Which ATen operators are which `torch.nn` layers: one row each.

A constructor's arguments are not listed here. Those that the operator has under the same names are handed on, and
a row adds only what must be computed, such as the widths, which the weight's shape tells.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from graphprune.capture.roles import ROLES

__all__ = ["PLAIN", "WEIGHTED", "Arguments", "Config", "LayerSpec"]

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
        return None if computed is None else {**{name: arguments[name] for name in named}, **computed}

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
    return {"num_embeddings": count, "embedding_dim": width, "padding_idx": padding}


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

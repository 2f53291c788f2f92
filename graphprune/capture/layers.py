"""Which ATen operators are which `torch.nn` layers: one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from graphprune.capture.roles import ROLES

__all__ = ["PLAIN", "WEIGHTED", "LayerSpec"]

Arguments = Mapping[str, Any]
Config = dict[str, Any]


@dataclass(frozen=True)
class LayerSpec:
    """How an operator call becomes a layer.

    Args:
        kind: name of the class in `torch.nn`, or a function of the arguments that gives it.
        config: constructor arguments from the call's arguments (stored tensors in place); None if the call
            asks for something the layer cannot do.
        tensors: schema argument → name of the layer's own tensor.
        source: schema argument that is the layer's input.
        always: raise it even where the user called the function, so that train() and eval() work.
    """

    kind: str | Callable[[Arguments], str]
    config: Callable[[Arguments], Config | None]
    tensors: Mapping[str, str] = field(default_factory=dict)
    source: str = "self"
    always: bool = False
    label: str = ""

    def name(self, arguments: Arguments) -> str:
        return self.kind if isinstance(self.kind, str) else self.kind(arguments)

    def owned(self, arguments: Arguments) -> dict[str, Any]:
        """The layer's own tensors, by their names in it."""
        return {local: arguments.get(name) for name, local in self.tensors.items()}

    def inputs(self, arguments: Arguments, constants: Mapping[str, torch.Tensor]) -> tuple[Any, ...]:
        """What the layer is called with; ``constants`` are known by the nodes' targets."""
        return (arguments[self.source],)

    def results(self, called: fx.Node) -> Any:
        """What stands for the operator's results, one node or a tuple; ``called`` is the call of the layer."""
        return called

    def build(self, config: Config) -> nn.Module:
        kind = str(config.pop("kind", None) or self.kind)
        return getattr(nn, kind)(**config)


def _convolution(a: Arguments) -> Config:
    weight = a["weight"]
    return {
        "in_channels": weight.shape[1] * a["groups"],
        "out_channels": weight.shape[0],
        "kernel_size": tuple(weight.shape[2:]),
        **{name: a[name] for name in ("stride", "padding", "dilation", "groups")},
        "bias": a.get("bias") is not None,
    }


def _transposed(a: Arguments) -> Config:
    weight = a["weight"]
    return {
        **_convolution(a),
        "in_channels": weight.shape[0],
        "out_channels": weight.shape[1] * a["groups"],
        "output_padding": a["output_padding"],
    }


def _linear(a: Arguments) -> Config:
    return {
        "in_features": a["weight"].shape[1],
        "out_features": a["weight"].shape[0],
        "bias": a.get("bias") is not None,
    }


def _batch_norm(a: Arguments) -> Config | None:
    if a["training"] or a["running_mean"] is None or (a["weight"] is None) != (a["bias"] is None):
        return None
    return {
        "kind": f"BatchNorm{max(a['rank'] - 2, 1)}d",
        "num_features": a["running_mean"].shape[0],
        "affine": a["weight"] is not None,
        "eps": a["eps"],
        "momentum": a["momentum"] or None,  # a cumulative average is passed as 0 in eval mode
    }


def _layer_norm(a: Arguments) -> Config | None:
    if a["weight"] is None:
        return None
    return {
        "normalized_shape": tuple(a["normalized_shape"]),
        "eps": a["eps"],
        "bias": a.get("bias") is not None,
    }


def _embedding(a: Arguments) -> Config:
    padding = a["padding_idx"]
    return {
        "num_embeddings": a["weight"].shape[0],
        "embedding_dim": a["weight"].shape[1],
        "padding_idx": padding if padding >= 0 else None,
    }


def _group_norm(a: Arguments) -> Config | None:
    if a.get("bias") is None:
        return None
    return {"num_groups": a["num_groups"], "num_channels": a["weight"].shape[0], "eps": a["eps"]}


_CONFIGS: dict[str, tuple[str, Callable[[Arguments], Config | None]]] = {
    **{f"aten.conv{n}d": (f"Conv{n}d", _convolution) for n in (1, 2, 3)},
    **{f"aten.conv_transpose{n}d": (f"ConvTranspose{n}d", _transposed) for n in (1, 2, 3)},
    "aten.linear": ("Linear", _linear),
    "aten.batch_norm": ("BatchNorm2d", _batch_norm),
    "aten.layer_norm": ("LayerNorm", _layer_norm),
    "aten.rms_norm": (
        "RMSNorm",
        lambda a: {"normalized_shape": tuple(a["normalized_shape"]), "eps": a["eps"]},
    ),
    "aten.group_norm": ("GroupNorm", _group_norm),
    "aten.embedding": ("Embedding", _embedding),
    "aten.prelu": ("PReLU", lambda a: {"num_parameters": a["weight"].numel()}),
}

WEIGHTED: dict[str, LayerSpec] = {
    op: LayerSpec(kind, config, {name: name for name in ROLES[op].stored}, ROLES[op].source)
    for op, (kind, config) in _CONFIGS.items()
}


def _arguments_of(*names: str) -> Callable[[Arguments], Config]:
    return lambda a: {name: a[name] for name in names}


def _pool(*names: str) -> Callable[[Arguments], Config]:
    def config(a: Arguments) -> Config:
        chosen = {name: a[name] for name in names}
        if "stride" in chosen and not chosen["stride"]:
            del chosen["stride"]
        return chosen

    return config


def _nothing(a: Arguments) -> Config:
    return {}


_MAX_POOL = _pool("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_AVG_POOL = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

PLAIN: dict[str, LayerSpec] = {
    "aten.relu": LayerSpec("ReLU", _nothing),
    "aten.relu6": LayerSpec("ReLU6", _nothing),
    "aten.hardtanh": LayerSpec(
        lambda a: "ReLU6" if (a["min_val"], a["max_val"]) == (0, 6) else "Hardtanh",
        lambda a: (
            {"kind": "ReLU6"}
            if (a["min_val"], a["max_val"]) == (0, 6)
            else {"kind": "Hardtanh", "min_val": a["min_val"], "max_val": a["max_val"]}
        ),
    ),
    "aten.silu": LayerSpec("SiLU", _nothing),
    "aten.mish": LayerSpec("Mish", _nothing),
    "aten.sigmoid": LayerSpec("Sigmoid", _nothing),
    "aten.tanh": LayerSpec("Tanh", _nothing),
    "aten.hardswish": LayerSpec("Hardswish", _nothing),
    "aten.hardsigmoid": LayerSpec("Hardsigmoid", _nothing),
    "aten.gelu": LayerSpec("GELU", _arguments_of("approximate")),
    "aten.elu": LayerSpec(
        "ELU", lambda a: {"alpha": a["alpha"]} if a["scale"] == a["input_scale"] == 1 else None
    ),
    "aten.leaky_relu": LayerSpec("LeakyReLU", _arguments_of("negative_slope")),
    "aten.softmax": LayerSpec("Softmax", lambda a: {"dim": a["dim"]} if a.get("dtype") is None else None),
    "aten.max_pool1d": LayerSpec("MaxPool1d", _MAX_POOL),
    "aten.max_pool2d": LayerSpec("MaxPool2d", _MAX_POOL),
    "aten.max_pool3d": LayerSpec("MaxPool3d", _MAX_POOL),
    "aten.avg_pool1d": LayerSpec("AvgPool1d", _pool(*_AVG_POOL)),
    "aten.avg_pool2d": LayerSpec("AvgPool2d", _pool(*_AVG_POOL, "divisor_override")),
    "aten.avg_pool3d": LayerSpec("AvgPool3d", _pool(*_AVG_POOL, "divisor_override")),
    **{
        f"aten.adaptive_avg_pool{n}d": LayerSpec(f"AdaptiveAvgPool{n}d", _arguments_of("output_size"))
        for n in (1, 2, 3)
    },
    "aten.flatten": LayerSpec("Flatten", _arguments_of("start_dim", "end_dim")),
    "aten.pixel_shuffle": LayerSpec("PixelShuffle", _arguments_of("upscale_factor")),
    "aten.dropout": LayerSpec("Dropout", _arguments_of("p"), source="input", always=True, label="dropout"),
    "aten.feature_dropout": LayerSpec(
        lambda a: f"Dropout{max(a['rank'] - 2, 1)}d",
        lambda a: {"kind": f"Dropout{max(a['rank'] - 2, 1)}d", "p": a["p"]},
        source="input",
        always=True,
        label="dropout",
    ),
}

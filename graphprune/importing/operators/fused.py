"""Operators that onnxruntime's optimisers write in the place of several of ONNX's, but for attention."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from graphprune.importing.node import Node, Operator, free
from graphprune.importing.operators.convolutions import convolution
from graphprune.importing.operators.elementwise import OPERATORS as ELEMENTWISE
from graphprune.importing.operators.matrices import OPERATORS as MATRICES
from graphprune.importing.operators.norms import OPERATORS as NORMS
from graphprune.importing.schemas import defaults

__all__ = ["OPERATORS", "plain"]

# the numbers that an activation takes, in the order in which a FusedConv lists them
_NUMBERS = {"Clip": ("min", "max"), "LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta")}


def plain(node: Node, operator: str, opset: int = 20, **attributes: Any) -> Node:
    """The node of ONNX's own operator with these attributes, and defaults in the place of None and of the others."""
    given = {name: value for name, value in attributes.items() if value is not None}
    return replace(
        node, operator=operator, opset=opset, attributes={**defaults(operator, opset, ""), **given}
    )


def _activated(node: Node, x: Tensor) -> Tensor:
    """What the activation makes that the node names."""
    name = node["activation"]
    if not name:
        return x
    if name not in ELEMENTWISE:
        raise node.refusal(f"its activation is {name}")
    listed = node["activation_params"] or [node["activation_alpha"], node["activation_beta"]]
    numbers = dict(zip(_NUMBERS.get(name, ()), listed, strict=False))
    given = {key: value for key, value in numbers.items() if value is not None}
    if name == "Clip":
        return torch.clamp(x, **given)
    result: Tensor = ELEMENTWISE[name].compute(plain(node, name, **given), x)
    return result


def _convolved(
    node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None, added: Tensor | None = None
) -> Tensor:
    result = convolution(plain(node, "Conv", **node.attributes), x, weight, bias)
    return _activated(node, result if added is None else result + added)


def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    return _activated(node, MATRICES["Gemm"].compute(plain(node, "Gemm", **node.attributes), a, b, c))


def _turned(x: Tensor, last: Any, batch: Any) -> Tensor:
    """With the last two dimensions swapped, or the first one put before the last."""
    if batch:
        x = x.movedim(0, -2)
    return x.transpose(-1, -2) if last and x.dim() > 1 else x


def _product(node: Node, a: Tensor, b: Tensor) -> Tensor:
    a, b = _turned(a, node["transA"], node["transBatchA"]), _turned(b, node["transB"], node["transBatchB"])
    alpha = 1.0 if node["alpha"] is None else node["alpha"]
    return torch.matmul(a, b) if alpha == 1 else torch.matmul(a, b) * alpha


def _tanh_gelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


def _quick_gelu(node: Node, x: Tensor) -> Tensor:
    alpha = 1.702 if node["alpha"] is None else node["alpha"]
    return x * torch.sigmoid(alpha * x)


def _normed(node: Node, norm: str, total: Tensor, scale: Tensor, bias: Tensor | None = None) -> Any:
    epsilon = 1e-12 if node["epsilon"] is None else node["epsilon"]
    own = replace(plain(node, norm, 23, epsilon=epsilon), outputs=("norm",))
    return NORMS[norm].compute(own, total, scale, *(() if bias is None else (bias,)))


def _no_statistics(node: Node) -> None:
    if any(node.outputs[1:3]):
        raise node.refusal("it gives its mean and deviation too")


def _skip(
    node: Node, x: Tensor, skip: Tensor, scale: Tensor, beta: Tensor | None = None, bias: Tensor | None = None
) -> Any:
    """The norm of a sum, and the sum."""
    _no_statistics(node)
    total = x + skip if bias is None else x + skip + bias
    return (_normed(node, "LayerNormalization", total, scale, beta), None, None, total)[: len(node.outputs)]


def _skip_simplified(node: Node, x: Tensor, skip: Tensor, scale: Tensor, bias: Tensor | None = None) -> Any:
    _no_statistics(node)
    total = x + skip if bias is None else x + skip + bias
    return (_normed(node, "RMSNormalization", total, scale), None, None, total)[: len(node.outputs)]


def _embedded(node: Node, *given: Any) -> Any:
    """The norm of the sum of embeddings, how many positions count of each row, and the sum."""
    ids, segments, words, positions, kinds, scale, beta, mask, places, *_ = (*given, None, None)
    table = F.embedding(ids.to(torch.int64), words)
    if places is None:
        total = table + positions[: ids.shape[1]]
    else:
        total = table + F.embedding(places.to(torch.int64), positions)
    if kinds is not None:
        total = total + F.embedding(segments.to(torch.int64), kinds)
    counted = ids.new_zeros(ids.shape[:1]) if mask is None else mask.sum(1)
    normed = _normed(node, "LayerNormalization", total, scale, beta)
    return (normed, counted.to(torch.int32), total)[: len(node.outputs)]


OPERATORS = {
    "SimplifiedLayerNormalization": Operator(
        lambda node, x, scale: _normed(node, "RMSNormalization", x, scale)
    ),
    **{
        f"com.microsoft.{name}": operator
        for name, operator in {
            "BiasGelu": free(lambda x, bias: F.gelu(x + bias)),
            "EmbedLayerNormalization": Operator(_embedded),
            "FastGelu": free(_tanh_gelu),
            "FusedConv": Operator(_convolved),
            "FusedGemm": Operator(_gemm),
            "FusedMatMul": Operator(_product),
            "Gelu": free(F.gelu),
            "QuickGelu": Operator(_quick_gelu),
            "SkipLayerNormalization": Operator(_skip),
            "SkipSimplifiedLayerNormalization": Operator(_skip_simplified),
        }.items()
    },
}

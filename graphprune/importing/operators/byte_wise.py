"""onnxruntime's operators on 8 bits: ONNX's own between a DequantizeLinear and a QuantizeLinear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from graphprune.importing.node import Node, Operator
from graphprune.importing.operators.elementwise import OPERATORS as ELEMENTWISE
from graphprune.importing.operators.fused import plain
from graphprune.importing.operators.pools import OPERATORS as POOLS
from graphprune.importing.operators.quantised import (
    beside,
    dequantised,
    quantised,
    quantised_by_range,
    shifted,
)

__all__ = ["OPERATORS"]

_PLAIN = {**ELEMENTWISE, **POOLS}


def _opened(given: Sequence[Any]) -> list[Tensor]:
    """The floats of tensors that come with scale and zero point, one after the other."""
    triples = zip(given[::3], given[1::3], given[2::3], strict=True)
    return [dequantised(x, scale, zero, 1) for x, scale, zero in triples]


def _closed(x: Tensor, scale: Tensor, zero: Tensor | None, like: Tensor) -> Tensor:
    return quantised(x, scale, like.new_zeros(()) if zero is None else zero, 1)


def _between(name: str) -> Operator:
    """The operator of that name, of tensors that come first, with the scale and zero point of its result at the end."""

    def compute(node: Node, *given: Any) -> Tensor:
        count = (len(given) - 1) // 3 * 3
        scale, zero = (*given[count:], None)[:2]
        return _closed(_run(node, name, _opened(given[:count])), scale, zero, given[0])

    return Operator(compute)


def _run(node: Node, name: str, tensors: list[Tensor]) -> Tensor:
    if node["channels_last"]:
        raise node.refusal("its channels come last")
    attributes = dict(node.attributes)
    opset = attributes.pop("opset", None) or 17
    result: Tensor = _PLAIN[name].compute(plain(node, name, opset, **attributes), *tensors)
    return result


def _concatenated(node: Node, scale: Tensor, zero: Tensor, *given: Any) -> Tensor:
    return _closed(torch.cat(_opened(given), node["axis"]), scale, zero, given[0])


def _chosen(node: Node, condition: Tensor, *given: Any) -> Tensor:
    x, y = _opened(given[:6])
    scale, zero = given[6:]
    return _closed(torch.where(condition, x, y), scale, zero, given[0])


def _gemm(node: Node, a: Tensor, a_scale: Tensor, a_zero: Tensor, b: Tensor, *given: Any) -> Tensor:
    """Without a scale of the result, that is a float."""
    b_scale, b_zero, c, scale, zero = (*given, None, None, None)[:5]
    along = 0 if node["transB"] else -1
    left, right = shifted(a, a_zero, -2), shifted(b, b_zero, along)
    left, right = left.t() if node["transA"] else left, right.t() if node["transB"] else right
    product = torch.matmul(left, right)
    product = product if c is None else product + c.to(product.dtype)
    alpha = 1.0 if node["alpha"] is None else node["alpha"]
    result = (product * (alpha * a_scale) * beside(b_scale, product, -1)).to(torch.float32)
    return result if scale is None else _closed(result, scale, zero, a)


def _to_float(node: Node, a: Tensor, b: Tensor, *given: Any) -> Tensor:
    a_scale, b_scale, a_zero, b_zero, bias = (*given, None, None, None)[:5]
    product = torch.matmul(shifted(a, a_zero, -2), shifted(b, b_zero, -1))
    result = (product * a_scale * beside(b_scale, product, -1)).to(torch.float32)
    return result if bias is None else result + bias


def _dynamic(node: Node, a: Tensor, b: Tensor, scale: Tensor, *given: Any) -> Tensor:
    b_zero, bias = (*given, None, None)[:2]
    whole, a_scale, a_zero = quantised_by_range(a)
    return _to_float(node, whole, b, a_scale, scale, a_zero, b_zero, bias)


OPERATORS = {
    f"com.microsoft.{name}": operator
    for name, operator in {
        "DynamicQuantizeMatMul": Operator(_dynamic),
        "MatMulIntegerToFloat": Operator(_to_float),
        "QGemm": Operator(_gemm),
        "QLinearAdd": _between("Add"),
        "QLinearAveragePool": _between("AveragePool"),
        "QLinearConcat": Operator(_concatenated),
        "QLinearGlobalAveragePool": _between("GlobalAveragePool"),
        "QLinearLeakyRelu": _between("LeakyRelu"),
        "QLinearMul": _between("Mul"),
        "QLinearSigmoid": _between("Sigmoid"),
        "QLinearSoftmax": _between("Softmax"),
        "QLinearWhere": Operator(_chosen),
    }.items()
}

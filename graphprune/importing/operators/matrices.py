"""Products of matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from graphprune.importing.node import Node, Operator, free

__all__ = ["OPERATORS"]


def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """``alpha · A · B + beta · C``. Where B is transposed it is the weight of a linear layer."""
    a = a.t() if node["transA"] else a
    alpha, beta = node["alpha"], node["beta"]
    added = None if c is None else c if beta == 1 else c * beta
    if node["transB"] and alpha == 1 and (added is None or added.dim() == 1) and a.is_floating_point():
        return torch.nn.functional.linear(a, b, added)
    product = torch.matmul(a, b.t() if node["transB"] else b)
    product = product if alpha == 1 else product * alpha
    return product if added is None else product + added


OPERATORS = {
    "Det": free(torch.det),
    "Einsum": Operator(lambda node, *tensors: torch.einsum(node["equation"], *tensors)),
    "Gemm": Operator(_gemm),
    "MatMul": free(torch.matmul),
}

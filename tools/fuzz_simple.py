"""Layers that can surely be pruned, by a rule so simple that it needs no axes: what they make is read by layers alone.

The output of a convolution (not grouped) or linear layer, which is called once, must go to such layers alone, through
activations and norms that leave every channel to itself. A shrink that removes none of its units is needlessly shy.
"""

from __future__ import annotations

import ast
import re

from fuzz_model import Model, values_in
from torch import nn

__all__ = ["simple_layers"]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
POINTWISE = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Hardswish, nn.LeakyReLU, nn.ELU, nn.Mish)
POINTWISE += (nn.ReLU6, nn.Softplus, nn.Hardtanh, nn.Dropout, nn.Identity, nn.CELU, nn.LogSigmoid)
POOLING = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
PASSING = {  # by the dimension of the channels
    1: (*POINTWISE, *POOLING, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    -1: (*POINTWISE, nn.LayerNorm, nn.RMSNorm),
}
FUNCTIONS = {"relu", "gelu", "silu", "tanh", "sigmoid", "sin", "erf", "softplus", "abs", "leaky_relu", "elu"}
ENDS, PASSES, AVERAGED, OTHER = "ends", "passes", "averaged", "other"


def simple_layers(model: Model, module: nn.Module) -> list[str]:
    """Names of the layers whose outputs can surely be pruned."""
    found = []
    for name, layer in module.named_children():
        if not isinstance(layer, (*CONVOLUTIONS, nn.Linear)) or getattr(layer, "groups", 1) > 1:
            continue
        if hasattr(layer, "parametrizations") or not _used_once(model, name) or layer.weight.shape[0] < 2:
            continue
        dim = -1 if isinstance(layer, nn.Linear) else 1
        statement = next(line for line in model.steps.values() if re.search(rf"self\.{name}\b", line))
        if "\n" not in statement and _Flow(model, module, dim).begins(statement, name):
            found.append(name)
    return found


def _used_once(model: Model, name: str) -> bool:
    """Whether a layer is called once, and its tensors are no other's and are not read beside it."""
    text = "\n".join([*model.steps.values(), *model.layers.values()])
    return len(re.findall(rf"self\.{name}\b", text)) == 2  # where it is made, and where it is called


class _Flow:
    def __init__(self, model: Model, module: nn.Module, dim: int) -> None:
        self.model, self.module, self.dim = model, module, dim
        self.name = ""  # of the layer or value that is followed

    def begins(self, statement: str, layer: str) -> bool:
        """Whether what ``layer`` makes in ``statement`` ends in layers everywhere."""
        self.name = layer
        return self._ended(statement, self._of(_expression(statement)))

    def _ended(self, statement: str, flow: str | None) -> bool:
        if flow == ENDS:
            return True
        if flow not in (PASSES, AVERAGED):
            return False
        follow = self if flow == PASSES else _Flow(self.model, self.module, -1)
        value = statement.split(" = ")[0]
        readers = [
            line for line in self.model.steps.values() if value in values_in(line) and line != statement
        ]
        if not readers or value in self.model.outputs:
            return False
        flows = []
        for line in readers:
            follow.name = value
            flows.append("\n" not in line and follow._ended(line, follow._of(_expression(line))))
        return all(flows)

    def _of(self, node: ast.AST) -> str | None:
        """How what is followed goes through an expression; None if it has no part in it."""
        if isinstance(node, ast.Name):
            return PASSES if node.id == self.name else None
        if isinstance(node, ast.Call):
            return self._call(node)
        parts = [self._of(child) for child in ast.iter_child_nodes(node)]
        flows = [flow for flow in parts if flow is not None]
        if isinstance(node, ast.BinOp) and flows == [PASSES]:
            other = node.right if parts[0] == PASSES else node.left
            return (
                PASSES if isinstance(other, ast.Constant) and not isinstance(node.op, ast.MatMult) else OTHER
            )
        if isinstance(node, ast.UnaryOp) and flows == [PASSES]:
            return PASSES
        if flows and all(flow == ENDS for flow in flows):
            return ENDS
        return OTHER if flows else None

    def _call(self, node: ast.Call) -> str | None:
        flows = [flow for flow in map(self._of, node.args) if flow is not None]
        func = node.func
        if not isinstance(func, ast.Attribute):
            return OTHER if flows else None
        inner = ast.unparse(func)
        if inner == f"self.{self.name}":
            return PASSES  # the layer that is followed
        if flows and all(flow == ENDS for flow in flows):
            return ENDS
        if inner.startswith("self.") and flows == [PASSES] and len(node.args) == 1:
            path = inner.removeprefix("self.")
            return self._layer(self.module.get_submodule(path)) if _used_once(self.model, path) else OTHER
        if flows == [PASSES] and func.attr in FUNCTIONS and inner.split(".")[0] in ("F", "torch"):
            return PASSES
        receiver = self._of(func.value)
        if receiver == PASSES and not flows and func.attr in FUNCTIONS:
            return PASSES
        if receiver == PASSES and self.dim == 1 and ast.unparse(node).endswith(".mean((2, 3))"):
            return AVERAGED
        if receiver == ENDS and not flows:
            return ENDS
        return OTHER if flows or receiver else None

    def _layer(self, layer: nn.Module) -> str:
        if isinstance(layer, nn.Linear if self.dim == -1 else CONVOLUTIONS):
            return (
                ENDS if getattr(layer, "groups", 1) == 1 and not hasattr(layer, "parametrizations") else OTHER
            )
        if isinstance(layer, (nn.LayerNorm, nn.RMSNorm)) and len(layer.normalized_shape) > 1:
            return OTHER
        return PASSES if isinstance(layer, PASSING[self.dim]) else OTHER


def _expression(statement: str) -> ast.AST:
    return ast.parse(statement.split(" = ", 1)[1], mode="eval").body

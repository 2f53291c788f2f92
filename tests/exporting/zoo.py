"""Small raised-like models: traced graphs of standard layers, with random weights and running statistics."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from graphprune.exporting import read_graph


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, groups=2, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps=1e-3)
        self.act = nn.ReLU(inplace=True)
        self.gamma = nn.Parameter(torch.ones(width, 1, 1))

    def forward(self, x):
        return self.act(self.bn1(self.conv1(x)) * self.gamma + x)


class ConvNet(nn.Module):
    """Residual blocks; a tied pair of linear layers, frozen parts, one layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.layer1 = nn.Sequential(Block(8), Block(8))
        self.drop = nn.Dropout(0.1)
        self.fc = nn.Linear(8, 5)
        self.fc2 = nn.Linear(8, 5)
        self.fc2.weight = self.fc.weight
        self.fc2.bias.requires_grad_(False)
        self.stem.requires_grad_(False)

    def forward(self, x):
        x = self.layer1(self.stem(x))
        x = F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1)
        x = self.drop(x)
        return self.fc(x) + 2 * self.fc2(x), [self.fc(-x)]


class Attention(nn.Module):
    """One decoder layer: tied embedding, causal mask as a buffer outside the state dict, optional input."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 12, padding_idx=0)
        self.position = nn.Parameter(torch.zeros(1, 6, 12), requires_grad=False)
        self.blocks = nn.ModuleList([nn.ModuleDict({"norm": nn.LayerNorm(12), "qkv": nn.Linear(12, 36)})])
        self.proj = nn.Linear(12, 12, bias=False)
        self.head = nn.Linear(12, 11, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("mask", torch.ones(6, 6).tril().bool(), persistent=False)

    def forward(self, input_ids, scale=None):
        x = self.embed(input_ids) + self.position
        batch, length = x.size(0), x.size(1)
        qkv = self.blocks[0]["qkv"](self.blocks[0]["norm"](x))
        qkv = qkv.view(batch, length, 3, 2, 6).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], attn_mask=self.mask, scale=0.3)
        x = x + self.proj(y.transpose(1, 2).reshape(batch, length, 12))
        return {"logits": self.head(x), "hidden": (x[:, 0], x[:, -1:, ::2])}


class Double(nn.Module):
    """Double precision, with an optional second tensor that the trace saw."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4, dtype=torch.float64)
        self.up = nn.Linear(4, 6, dtype=torch.float64)
        self.register_buffer("shift", torch.arange(6, dtype=torch.float64))

    def forward(self, x, weight=None):
        return self.up(self.norm(x)) * weight + self.shift


class Operators(nn.Module):
    """Every kind of node and argument; `_operators` puts in what tracing cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Linear(4, 4)
        self.again = nn.Linear(4, 4)
        self.table = nn.ParameterList([torch.zeros(4), torch.zeros(4)])
        self.register_buffer("offset", torch.zeros(1))
        self.register_buffer("identity", torch.zeros(1))

    def forward(self, x):
        aten = torch.ops.aten
        y = aten.add.Tensor(self.lift(x), self.again(x), alpha=2)
        y = aten.mul.Tensor(aten.relu.default(y), 0.5) - self.table[0]
        y = operator.pow(y, 2) + 0.5 ** operator.floordiv(x.size(1), 2)
        mean = aten.transpose.int(y, 0, 1)[:2].mean()[None, None]
        y = torch.cat([y, aten.slice.Tensor(y, 1, 1, 2**63 - 1, 2), mean + y[:, :1]], 1)
        y = y.to(dtype=torch.float32, memory_format=torch.contiguous_format)
        y = torch.clamp(y, min=float("-inf"), max=3e4) + self.offset
        y = F.pad(y, (1, 1), value=1e-5) @ self.identity
        parts = aten.split.Tensor(y, 3, 1)
        return {"sum": parts[0] + parts[1], 7: {"last": parts[2] > 0}, "none": None, "raw": self.table[1] + x}


class Nested(nn.Module):
    """Layers inside layers, as norms that have their activation function: a named one and a numbered one."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.norm.act = nn.PReLU(4)
        self.other = nn.LayerNorm(4)
        self.other.add_module("0", nn.Linear(4, 4, bias=False))
        for parameter in self.norm.parameters(recurse=False):
            parameter.requires_grad_(False)

    def forward(self, x):
        x = self.norm.act(self.norm(x))
        return self.other.get_submodule("0")(self.other(x))


@dataclass(frozen=True)
class Case:
    build: Callable[[], fx.GraphModule]
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)


def randomized(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random parameters and running statistics, so that no output is blind to any of them; eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.5)
        for name, tensor in model.named_buffers():
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif name.endswith("running_mean"):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return model.eval()


def traced(model: nn.Module) -> fx.GraphModule:
    """`model` as a graph in eval mode, its plain containers included."""
    graph = fx.symbolic_trace(randomized(model)).eval()
    saved = model.state_dict()
    for name, buffer in graph.named_buffers():  # fx makes all of them persistent
        if name not in saved:
            graph.register_buffer(name, buffer, persistent=False)
    return graph


def case(kind: type[nn.Module], *args: Any, **kwargs: Any) -> Case:
    return Case(lambda: traced(kind()), args, kwargs)


def _random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def _operators() -> fx.GraphModule:
    model = traced(Operators())
    model.again = model.lift  # tracing would have called both by one name
    options = {"dtype": torch.float32, "device": torch.device("cpu")}
    for name, make, size in (("offset", torch.zeros, 1), ("identity", torch.eye, 9)):
        (buffer,) = (node for node in model.graph.nodes if node.target == name)
        with model.graph.inserting_before(buffer):
            buffer.replace_all_uses_with(model.graph.call_function(make, (size,), options))
        model.graph.erase_node(buffer)
    model.recompile()
    return model


CASES = {
    "conv": case(ConvNet, _random(2, 3, 9, 9)),
    "attention": case(Attention, torch.tensor([[1, 2, 3, 4, 5, 10], [9, 0, 7, 6, 5, 4]])),
    "double": case(Double, _random(2, 4, dtype=torch.float64), weight=_random(2, 6, dtype=torch.float64)),
    "nested": case(Nested, _random(3, 4)),
    "operators": Case(_operators, (_random(4, 4),)),
}


def tensors(result: Any) -> list[torch.Tensor]:
    """The tensors in a model's result, in order."""
    return [leaf for leaf in torch.utils._pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]


def graph_from_json(text: str) -> fx.GraphModule:
    """The model that a text describes, every parameter and buffer filled with zeros."""
    return read_graph(text, lambda name, shape, dtype: torch.zeros(shape, dtype=dtype))

"""Small models whose scores can be worked out by hand or by brute force."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp
from graphprune.axes.groups import Group, Member
from graphprune.planning import Masks

__all__ = ["INPUTS", "MODELS", "Concat", "Depthwise", "Grouped", "Residual", "member_slices", "traced"]

torch.set_num_threads(1)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.one, self.inner = nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.two, self.outer = nn.Conv2d(12, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(x + self.outer(self.two(F.relu(self.inner(self.one(x))))))
        return self.head(x.mean((2, 3)))


class Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.expand, self.first = nn.Conv2d(3, 10, 1, bias=False), nn.BatchNorm2d(10)
        self.depth, self.second = nn.Conv2d(10, 10, 3, padding=1, groups=10, bias=False), nn.BatchNorm2d(10)
        self.project = nn.Conv2d(10, 6, 1)
        self.head = nn.Linear(6 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.second(self.depth(F.relu6(self.first(self.expand(x))))))
        return self.head(F.avg_pool2d(F.relu(self.project(x)), 2).flatten(1))


class Concat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 9, 1)
        self.norm = nn.BatchNorm2d(15)
        self.after, self.head = nn.Conv2d(15, 7, 3), nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(torch.cat([self.left(x), self.right(x)], 1)))
        return self.head(F.relu(self.after(x)).mean((2, 3)))


class Grouped(nn.Module):
    """A grouped convolution: its groups are a group, and each may keep its own channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 1)
        self.conv = nn.Conv2d(12, 12, 3, padding=1, groups=3)
        self.last = nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.conv(F.relu(self.stem(x))))).mean((2, 3))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.qkv, self.out = nn.Linear(6, 12), nn.Linear(12, 36), nn.Linear(12, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        q, k, v = self.qkv(x).unflatten(-1, (3, 3, -1)).permute(2, 0, 3, 1, 4)
        return self.head(x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)))


MODELS = {
    "residual": Residual,
    "depthwise": Depthwise,
    "concat": Concat,
    "grouped": Grouped,
    "attention": Attention,
}
INPUTS = {name: (2, 7, 6) if name == "attention" else (2, 3, 8, 8) for name in MODELS}


@lru_cache(None)
def traced(name: str) -> tuple[nn.Module, gp.DependencyGraph, Tensor]:
    """The model with random weights, scales and running statistics, its graph, and five examples."""
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    with torch.no_grad():
        for key, tensor in (*model.named_parameters(), *model.named_buffers()):
            if tensor.is_floating_point() and tensor.dim() == 1:
                tensor.copy_(torch.rand_like(tensor) + 0.5 if "var" in key else torch.randn_like(tensor))
    graph = gp.trace(model, torch.randn(INPUTS[name]))
    return model, graph, torch.randn(5, *INPUTS[name][1:])


def member_slices(graph: gp.DependencyGraph, group: Group) -> Iterator[tuple[Member, list[Tensor]]]:
    """For every parameter among the members, where each unit stands along the member's dimension.

    By the masks of a plan that removes that unit alone, which share no code with scoring.
    """
    rows = 1 if group.fibre is None else group.fibre.size
    for member in dict.fromkeys(group.members):
        if graph.program.stored[member.tensor].kind == "parameter":
            places = []
            for unit in range(rows * group.size):
                kept = torch.ones(rows * group.size, dtype=torch.bool)
                kept[unit] = False
                mask = kept if group.fibre is None else kept.reshape(rows, -1)
                masks = Masks({group.atom: mask}, graph.fibres)
                kept = masks.of(graph.tensor_terms[member.tensor][member.dim])
                places.append((~kept).nonzero().flatten())
            yield member, places

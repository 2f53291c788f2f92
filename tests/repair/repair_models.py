"""Small models through every kind of path, in which one unit of every group can be made a copy of another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp
from graphprune.axes.groups import Group
from graphprune.planning import Masks, Plan, make_plan

__all__ = ["MODELS", "copied", "data", "model_of", "without_first"]

torch.set_num_threads(1)


class Residual(nn.Module):
    """Two batch norms without biases before them, and an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.one, self.inner = nn.Conv2d(5, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.two, self.outer = nn.Conv2d(6, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(x + self.outer(self.two(F.relu(self.inner(self.one(x))))))
        return self.head(x.mean((2, 3)))


class Concat(nn.Module):
    """A batch norm over a concatenation, and a strided convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 5, 1)
        self.norm = nn.BatchNorm2d(9)
        self.after, self.head = nn.Conv2d(9, 6, 3, stride=2, dilation=2, padding=2), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(torch.cat([self.left(x), self.right(x)], 1)))
        return self.head(F.relu(self.after(x)).mean((2, 3)))


class Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.expand, self.first = nn.Conv2d(3, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.depth, self.second = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), nn.BatchNorm2d(6)
        self.project, self.head = nn.Conv2d(6, 4, 1), nn.Linear(4 * 9, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.second(self.depth(F.relu6(self.first(self.expand(x))))))
        return self.head(F.avg_pool2d(F.relu(self.project(x)), 2).flatten(1))


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 3, padding=1, groups=2)
        self.up, self.last = nn.ConvTranspose2d(6, 4, 3, stride=2, output_padding=1), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.up(F.relu(self.conv(F.relu(self.stem(x)))))))


class Sequence(nn.Module):
    """Convolutions over time, the second with the same padding, in a residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(3, 5, 3, stride=2)
        self.one, self.two = nn.Conv1d(5, 6, 4, padding="same"), nn.Conv1d(6, 5, 1)
        self.head = nn.Linear(5, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.flatten(2))
        return self.head((x + self.two(F.gelu(self.one(x)))).amax(-1))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.qkv, self.out = nn.Linear(6, 12), nn.Linear(12, 36), nn.Linear(12, 12)
        self.up, self.down, self.head = nn.Linear(12, 9), nn.Linear(9, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x[:, 0])
        q, k, v = self.qkv(x).unflatten(-1, (3, 3, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return self.head(x + self.down(F.gelu(self.up(x))))


class Twice(nn.Module):
    """One layer, called twice; and one whose weight is multiplied in another way too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = nn.Linear(6, 8), nn.Linear(8, 8)
        self.table, self.head = nn.Linear(8, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.again(F.gelu(self.again(F.relu(self.first(x[:, 0])))))
        return self.head(F.relu(self.table(x))) + self.table.weight.mean()


MODELS = {
    "residual": Residual,
    "concat": Concat,
    "depthwise": Depthwise,
    "grouped": Grouped,
    "sequence": Sequence,
    "attention": Attention,
}


def model_of(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    """In float64, with random biases, scales and statistics under which no unit is dead."""
    torch.manual_seed(seed)
    model = kind().double().eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and tensor.dim() == 1:
                vary = name.endswith(
                    ("var", "norm.weight", "inner.weight", "outer.weight", "first.weight", "second.weight")
                )
                tensor.copy_(torch.rand_like(tensor) + 0.5 if vary else torch.rand_like(tensor) - 0.3)
    return model


def data(count: int = 48, seed: int = 1) -> Tensor:
    """``[count, 3, 6, 6]``."""
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def copied(graph: gp.DependencyGraph, group: Group) -> None:
    """Makes the first unit a copy of the last wherever the group is made or carried, in the model's own tensors."""
    for member in group.members:
        if member.role == "consumes" or not graph.program.tensors[member.tensor].is_floating_point():
            continue
        tensor, term = graph.program.tensors[member.tensor], graph.tensor_terms[member.tensor][member.dim]
        first, last = (_places(graph, group, unit).of(term) for unit in (0, group.size - 1))
        with torch.no_grad():
            tensor.movedim(member.dim, 0)[~first] = tensor.movedim(member.dim, 0)[~last]


def without_first(graph: gp.DependencyGraph, group: Group) -> Plan:
    """The plan that removes the first unit (of every row)."""
    return make_plan(graph, {group.name: _kept(group, 0)})


def _kept(group: Group, unit: int) -> Tensor:
    kept = torch.ones(group.size if group.fibre is None else (group.fibre.size, group.size), dtype=torch.bool)
    kept[..., unit] = False
    return kept


def _places(graph: gp.DependencyGraph, group: Group, unit: int) -> Masks:
    return Masks({group.atom: _kept(group, unit)}, graph.fibres)

"""A small net, a shrunk one, and data that it can learn; the same in every process that asks."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import graphprune as gp

__all__ = ["CLASSES", "Net", "data", "loader", "shrunk", "tensors"]

torch.set_num_threads(1)

CLASSES = 3


class Net(nn.Module):
    def __init__(self, norm: bool = True, dropout: float = 0.2) -> None:
        super().__init__()
        self.one, self.first = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8) if norm else nn.Identity()
        self.two, self.second = nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12) if norm else nn.Identity()
        self.drop, self.head = nn.Dropout(dropout), nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(self.one(x)))
        x = torch.relu(self.second(self.two(x)))
        return self.head(self.drop(x.mean((2, 3))))


@lru_cache(None)
def shrunk(norm: bool = True, dropout: float = 0.2) -> gp.Result:
    """Half of every group is gone."""
    torch.manual_seed(0)
    return gp.shrink(Net(norm, dropout).eval(), torch.randn(2, 1, 6, 6), ratio=0.5, align=1, importance="l2")


def data(count: int = 48) -> tuple[Tensor, Tensor]:
    """Noise with a bright stripe, whose place is the class."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % CLASSES
    images = torch.randn(count, 1, 6, 6, generator=generator) * 0.3
    for row, label in zip(images, labels, strict=True):
        row[0, 2 * label : 2 * label + 2] += 1.5
        row[0, :, : 2 * label + 1] -= 0.5
    return images, labels


def loader(batch: int = 16, shuffle: bool = True, labelled: bool = True) -> DataLoader:
    images, labels = data()
    return DataLoader(TensorDataset(images, labels) if labelled else images, batch, shuffle)


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}

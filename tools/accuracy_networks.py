"""Small networks for time series, trained here from a fixed seed: a residual 1-D network and a transformer."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

__all__ = ["SeriesResNet", "SeriesTransformer", "trained"]


class Block(nn.Module):
    """Two convolutions beside a shortcut: (batch, C, T) -> (batch, width, T / stride)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, width, 5, stride, padding=2, bias=False)
        self.bn1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, 5, padding=2, bias=False)
        self.bn2 = nn.BatchNorm1d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            projection = nn.Conv1d(channels, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm1d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


class SeriesResNet(nn.Module):
    """(batch, channels, T) -> (batch, classes)."""

    def __init__(self, channels: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(channels, width, 7, 2, padding=3, bias=False), nn.BatchNorm1d(width), nn.ReLU()
        )
        self.blocks = nn.Sequential(
            Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 2 * width, 1)
        )
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean(-1))


class Attention(nn.Module):
    """Self-attention, (batch, T, width) -> the same; its attributes are what torch-pruning's examples set."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_attention_heads, self.attention_head_size, self.all_head_size = heads, width // heads, width
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        shape = (x.shape[0], x.shape[1], self.num_attention_heads, self.attention_head_size)
        q, k, v = (layer(x).view(shape).transpose(1, 2) for layer in (self.query, self.key, self.value))
        # written out, since removing widths must not change the scale
        weights = (q @ k.transpose(-1, -2) * HEAD**-0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


HEAD = 16


class Layer(nn.Module):
    """One encoder layer, norms first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.up, self.down = (
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.Linear(4 * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class SeriesTransformer(nn.Module):
    """Patches of the series as tokens: (batch, channels, T) -> (batch, classes)."""

    def __init__(self, channels: int, classes: int, length: int, patch: int, width: int = 64) -> None:
        super().__init__()
        self.patches = nn.Conv1d(channels, width, patch, patch)
        self.places = nn.Parameter(0.02 * torch.randn(1, length // patch, width))
        self.layers = nn.Sequential(Layer(width, width // HEAD), Layer(width, width // HEAD))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).transpose(1, 2) + self.places
        return self.head(self.norm(self.layers(x)).mean(1))


def trained(
    build: Callable[[], nn.Module], inputs: Tensor, labels: Tensor, epochs: int, rate: float, store: Path
) -> nn.Module:
    """A network trained on one thread from a fixed seed, in eval mode; kept in ``store``, and read from there."""
    torch.manual_seed(0)
    model = build()
    if store.exists():
        model.load_state_dict(load_file(store))
        return model.eval()
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
    steps = epochs * math.ceil(len(inputs) / 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs), generator=generator).split(64):
            noisy = inputs[rows] + 0.05 * torch.randn(inputs[rows].shape, generator=generator)
            loss = F.cross_entropy(model(noisy), labels[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    store.parent.mkdir(parents=True, exist_ok=True)
    draft = store.with_suffix(".partial")
    save_file(model.state_dict(), draft)
    draft.replace(store)
    return model.eval()

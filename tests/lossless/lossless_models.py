"""Small networks of the textbook kind, and ways to kill units in them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import graphprune as gp


class LeNet(nn.Module):
    """Convolutions without padding, pooling, flatten, three linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 16, 3)
        self.fc1, self.fc2, self.fc3 = nn.Linear(16 * 9, 40), nn.Linear(40, 30), nn.Linear(30, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2).flatten(1)
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


class Block(nn.Module):
    """A residual block: a padded convolution, a pointwise one, batch norms."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, inner, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class Residual(nn.Module):
    """A stem, two blocks, a pooled linear layer."""

    def __init__(self, width: int = 8, inner: int = 12) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(Block(width, inner), Block(width, inner))
        self.fc = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(torch.relu(self.bn(self.stem(x)))).mean((2, 3)))


DIGIT, IMAGE = (2, 1, 18, 18), (2, 3, 8, 8)


def lively(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random parameters and running statistics without a zero among them, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            values = torch.randn(parameter.shape, generator=generator)
            scale = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.5
            parameter.copy_(values * scale + (0.1 if parameter.dim() == 1 else 0.0))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.3)
            elif name.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return model.eval()


def assert_unchanged(model: nn.Module, slim: nn.Module, shape: tuple[int, ...], limit: float = 1e-5) -> None:
    """Both give the same at several batch sizes; the outputs are not zeros."""
    generator = torch.Generator().manual_seed(7)
    dtype = next(model.parameters()).dtype
    for batch in (1, 4, 9):
        x = torch.randn(batch, *shape[1:], generator=generator, dtype=torch.float64).to(dtype)
        with torch.no_grad():
            wanted, given = model(x), slim(x)
        scale = float(wanted.abs().max())
        assert scale > 1e-3
        assert float((wanted - given).abs().max()) <= limit * scale


def shrunk(model: nn.Module, shape: tuple[int, ...], **options: object) -> gp.Result:
    """A lossless shrink, checked from outside."""
    dtype = next(model.parameters()).dtype
    result = gp.shrink(model, torch.randn(shape, dtype=dtype), lossless=True, **options)
    assert result.verdict.passed
    assert result.lossless is not None
    assert_unchanged(model, result.model, shape, 1e-12 if dtype is torch.float64 else 1e-5)
    assert result.after.params == sum(p.numel() for p in result.model.parameters())
    return result


def kept(result: gp.Result) -> dict[str, list[int]]:
    """Kept units of every group that lost some."""
    groups = result.plan.groups.items()
    return {name: kept.tolist() for name, kept in groups if len(kept) < result.graph.by_name[name].size}


def removed(result: gp.Result) -> dict[str, dict[str, int]]:
    """Kinds of removed units by group."""
    assert result.lossless is not None
    return {group.name: dict(group.removed) for group in result.lossless.groups if group.removed}


def stayed(result: gp.Result) -> dict[str, dict[str, int]]:
    """Dead units that stayed by group."""
    assert result.lossless is not None
    return {group.name: dict(group.stayed) for group in result.lossless.groups if group.stayed}

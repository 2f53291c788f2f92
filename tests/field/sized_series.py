"""Small networks on series, points and graphs that read how many there are, each in a way of its own."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 24


class Crnn(nn.Module):
    """Columns of an image become steps; its height is fixed by the recurrence's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, (2, 1), 1)
        self.rnn, self.o = nn.LSTM(12 * 4, 16, bidirectional=True, batch_first=True), nn.Linear(32, 9)

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(self.a(x).relu()).relu()
        b, c, h, w = y.size()
        y = y.permute(0, 3, 1, 2).contiguous().view(b, w, c * h)
        return self.o(self.rnn(y)[0])


class Recurrent(nn.Module):
    """The last step of what ``kind`` makes of a series."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.i, self.rnn, self.o = (
            nn.Linear(6, WIDTH),
            kind(WIDTH, WIDTH, batch_first=True),
            nn.Linear(WIDTH, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.rnn(self.i(x).relu())[0][:, x.shape[1] - 1])


class Series(nn.Module):
    """A prunable layer before and one behind ``mix``, which others fill in."""

    def __init__(self, features: int = 6) -> None:
        super().__init__()
        self.i, self.h = nn.Linear(features, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.o = nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.mix(self.h(self.i(x).relu()).relu()))

    def mix(self, y: Tensor) -> Tensor:
        raise NotImplementedError


class StepLoop(Series):
    """A recurrence in Python."""

    def mix(self, y: Tensor) -> Tensor:
        state = y[:, 0] * 0
        for step in range(y.shape[1]):
            state = torch.tanh(state * 0.5 + y[:, step])
        return state


class UnbindLoop(Series):
    def mix(self, y: Tensor) -> Tensor:
        state, found = 0.0, []
        for step in y.unbind(1):
            state = state * 0.5 + step
            found.append(state)
        return torch.stack(found, 1)


class MeanBySize(Series):
    def mix(self, y: Tensor) -> Tensor:
        return y.sum(1) / y.shape[1]


class RootOfSize(Series):
    def mix(self, y: Tensor) -> Tensor:
        return y.sum(1) / math.sqrt(y.shape[1])


class Count(Series):
    """All elements, of all examples."""

    def mix(self, y: Tensor) -> Tensor:
        return y * (y.sum() / y.shape[0]) + y.numel() / 100


class Halves(Series):
    def mix(self, y: Tensor) -> Tensor:
        half = y.shape[1] // 2
        first, second = y.split([half, y.shape[1] - half], 1)
        return first.mean(1) - second.amax(1) + y[:, :half].sum(1)


class SplitHalf(Series):
    """A split by a size, in two only where the length is even."""

    def mix(self, y: Tensor) -> Tensor:
        first, second = y.split(y.size(1) // 2, dim=1)
        return first * second


class Chunks(Series):
    def mix(self, y: Tensor) -> Tensor:
        first, second = y.chunk(2, 1)
        return first.mean(1) - second.amax(1)


class Shift(Series):
    """Each step beside the one before."""

    def mix(self, y: Tensor) -> Tensor:
        before = torch.cat([torch.zeros_like(y[:, :1]), y[:, :-1]], 1)
        return y - before * (torch.arange(y.size(1)) / y.size(1))[None, :, None]


class LocalChunks(Series):
    """Padded to whole chunks of four, and cut again."""

    def mix(self, y: Tensor) -> Tensor:
        b, t, c = y.shape
        y = F.pad(y, (0, 0, 0, -t % 4))
        y = y.view(b, y.shape[1] // 4, 4, c)
        return (y - y.mean(2, keepdim=True)).reshape(b, -1, c)[:, :t]


class MinimumSize(Series):
    """The first eight steps, or as many as there are."""

    def mix(self, y: Tensor) -> Tensor:
        many = min(y.shape[1], 8)
        return y[:, :many].sum(1) / many + y.sum(1) / max(y.shape[1], 4)


class Positions(Series):
    """Times within 0 and 1, of which no table exists."""

    def mix(self, y: Tensor) -> Tensor:
        b, t, c = y.shape
        times = torch.linspace(0, 1, t).reshape(1, t, 1).repeat(b, 1, c)
        return torch.cumsum(y * times, 1)


class Audio(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(1, 12, 8, 4), nn.Conv1d(12, 16, 4, 2)
        self.norm, self.o = nn.GroupNorm(4, 16), nn.Linear(16, 5)

    def forward(self, wave: Tensor) -> Tensor:
        y = self.norm(self.b(F.gelu(self.a(wave.unsqueeze(1)))))
        return self.o(F.gelu(y).transpose(1, 2)).log_softmax(-1)


class Tcn(nn.Module):
    """Causal: padded on both sides, and chomped."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv1d(6, 16, 3, padding=2)
        self.b = nn.Conv1d(16, 16, 3, padding=4, dilation=2)
        self.o = nn.Conv1d(16, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)[..., :-2].relu()
        return self.o(y + self.b(y)[:, :, :-4].contiguous().relu())


class PointNet(nn.Module):
    """A global feature, beside every point again."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(3, 16, 1), nn.Conv1d(16, 24, 1)
        self.c, self.o = nn.Conv1d(40, 16, 1), nn.Conv1d(16, 4, 1)

    def forward(self, points: Tensor) -> Tensor:
        n = points.size(1)
        near = self.a(points.transpose(1, 2)).relu()
        whole = self.b(near).max(2, keepdim=True)[0]
        y = torch.cat([whole.view(-1, 24, 1).repeat(1, 1, n), near], 1)
        return self.o(self.c(y).relu()).transpose(2, 1).reshape(-1, n, 4)


class NeighbourPoints(nn.Module):
    """Distances of every point to every other."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.o = nn.Linear(3, WIDTH), nn.Linear(WIDTH, 4)
        self.b = nn.Linear(WIDTH, WIDTH)

    def forward(self, points: Tensor) -> Tensor:
        apart = (points.unsqueeze(2) - points.unsqueeze(1)).pow(2).sum(-1)
        near = (-apart - torch.eye(points.shape[1]) * 9).softmax(-1)
        y = self.a(points).relu()
        return self.o((near @ self.b(y)).relu() + y)


class Graph(nn.Module):
    """Messages along edges, summed by ``way``; nodes and edges are of any number."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.a, self.b, self.o = nn.Linear(6, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        y = self.a(x).relu()
        messages = self.b(y)[edges[0]]
        if self.way == "index_add":
            found = y.new_zeros(x.size(0), WIDTH).index_add(0, edges[1], messages)
            degree = x.new_zeros(x.size(0)).index_add(0, edges[1], torch.ones(edges.size(1)))
            found = found / degree.clamp(min=1)[:, None]
        else:
            places = edges[1].unsqueeze(-1).expand(-1, messages.shape[-1])
            found = torch.zeros_like(y).scatter_add(0, places, messages)
        return self.o(found + y)


class DenseGraph(nn.Module):
    """A matrix beside the nodes, and no batch."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.o = nn.Linear(6, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        near = adjacency + torch.eye(x.shape[0])
        near = near / near.sum(-1, keepdim=True)
        return self.o((near @ self.b((near @ self.a(x)).relu())).mean(0) / x.shape[0])


class Timestep(nn.Module):
    """A diffusion model's step: images, and one number for all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.o = (
            nn.Conv2d(3, 16, 3, padding=1),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.Conv2d(16, 3, 1),
        )
        self.t = nn.Linear(8, 16)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        angles = t.reshape(1, 1) * torch.exp(torch.arange(4) * -1.0)[None]
        when = self.t(torch.cat([angles.sin(), angles.cos()], -1))
        return self.o(self.b(self.a(x).relu() + when[:, :, None, None]).relu())


class TwoBatches(nn.Module):
    """Every row of one against every row of another, as CLIP does."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, WIDTH), nn.Linear(7, WIDTH)
        self.c, self.d = nn.Linear(WIDTH, 8), nn.Linear(WIDTH, 8)

    def forward(self, images: Tensor, texts: Tensor) -> Tensor:
        x, y = self.c(self.a(images).relu()), self.d(self.b(texts).relu())
        return F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).T

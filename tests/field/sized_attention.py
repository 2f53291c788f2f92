"""Small transformers that read how long their inputs are, each in a way of its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, HEADS = 32, 4
HEAD = WIDTH // HEADS
TABLE = 24  # the longest sequence of a model with a table


class Attention(nn.Module):
    """Self-attention whose heads become one in one of three idioms."""

    def __init__(self, idiom: str = "reshape") -> None:
        super().__init__()
        self.idiom = idiom
        self.qkv, self.o = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, HEADS, HEAD).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal).transpose(1, 2)
        match self.idiom:
            case "view":
                y = y.contiguous().view(b, t, WIDTH)
            case "flatten":
                y = y.flatten(2)
            case _:
                y = y.reshape(b, t, WIDTH)
        return self.o(y)


class Block(nn.Module):
    def __init__(self, idiom: str = "reshape") -> None:
        super().__init__()
        self.attention = Attention(idiom)
        self.n1, self.n2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 48), nn.Linear(48, WIDTH)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        x = x + self.attention(self.n1(x), mask, causal)
        return x + self.down(F.gelu(self.up(self.n2(x))))


class Encoder(nn.Module):
    """Bidirectional, on vectors, without positions."""

    def __init__(self, idiom: str) -> None:
        super().__init__()
        self.i, self.block, self.o = nn.Linear(6, WIDTH), Block(idiom), nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.block(self.i(x)))


def by_arange(t: int) -> Tensor:
    places = torch.arange(t)
    return places[:, None] >= places[None, :]


def by_full(t: int) -> Tensor:
    return torch.full((t, t), float("-inf")).triu(1)


def by_ones(t: int) -> Tensor:
    return torch.ones(t, t, dtype=torch.bool).tril()


def sliding(t: int) -> Tensor:
    places = torch.arange(t)
    apart = places[:, None] - places[None, :]
    return (apart >= 0) & (apart < 4)


def alibi(t: int) -> Tensor:
    places = torch.arange(t)
    slopes = torch.tensor([2.0 ** -(i + 1) for i in range(HEADS)]).view(HEADS, 1, 1)
    return slopes * (places[None, :] - places[:, None]).abs().neg()[None]


class Decoder(nn.Module):
    """A language model whose mask is made anew in each call."""

    def __init__(self, mask: Callable[[int], Tensor] | None) -> None:
        super().__init__()
        self.mask = mask
        self.e, self.block, self.o = nn.Embedding(40, WIDTH), Block(), nn.Linear(WIDTH, 40)

    def forward(self, ids: Tensor) -> Tensor:
        mask = self.mask(ids.shape[1]) if self.mask else None
        return self.o(self.block(self.e(ids), mask, causal=mask is None))


class TrilBuffer(nn.Module):
    """GPT-2's way: a buffer of the longest mask, and a table of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.e, self.p = nn.Embedding(40, WIDTH), nn.Embedding(TABLE, WIDTH)
        self.q, self.k, self.v, self.y = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.o = nn.Linear(WIDTH, 40)
        self.register_buffer("seen", torch.tril(torch.ones(TABLE, TABLE)).view(1, 1, TABLE, TABLE))

    def forward(self, ids: Tensor) -> Tensor:
        B, T = ids.size()
        x = self.e(ids) + self.p(torch.arange(0, T, dtype=torch.long, device=ids.device))
        q, k, v = (f(x).view(B, T, HEADS, HEAD).transpose(1, 2) for f in (self.q, self.k, self.v))
        near = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        near = near.masked_fill(self.seen[:, :, :T, :T] == 0, float("-inf")).softmax(-1)
        return self.o(x + self.y((near @ v).transpose(1, 2).contiguous().view(B, T, WIDTH)))


class LearnedPositions(nn.Module):
    """A table that is sliced; longer inputs than it the original refuses too."""

    def __init__(self, token: bool) -> None:
        super().__init__()
        self.i, self.block, self.o = nn.Linear(6, WIDTH), Block(), nn.Linear(WIDTH, 5)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH)) if token else None
        self.p = nn.Parameter(torch.randn(1, TABLE, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        y = self.i(x)
        if self.token is not None:
            y = torch.cat([self.token.expand(x.shape[0], -1, -1), y], 1)
        y = self.block(y + self.p[:, : y.shape[1]])
        return self.o(y if self.token is None else y[:, 0])


class Sinusoids(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.i, self.block, self.o = nn.Linear(6, WIDTH), Block(), nn.Linear(WIDTH, 5)
        self.conv = nn.Conv1d(6, WIDTH, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """After a convolution of stride two."""
        y = F.gelu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        rates = torch.exp(torch.arange(0, WIDTH, 2) * (-math.log(1000.0) / WIDTH))
        angles = torch.arange(y.shape[1])[:, None] * rates[None]
        return self.o(self.block(y + torch.cat([angles.sin(), angles.cos()], -1)))


class RelativeBias(nn.Module):
    """T5's way, without its logarithm."""

    def __init__(self) -> None:
        super().__init__()
        self.i, self.block, self.o = nn.Linear(6, WIDTH), Block(), nn.Linear(WIDTH, 5)
        self.bias = nn.Embedding(17, HEADS)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[1])
        apart = (places[None, :] - places[:, None]).clamp(-8, 8) + 8
        return self.o(self.block(self.i(x), self.bias(apart).permute(2, 0, 1).unsqueeze(0)))


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


class RotaryGqa(nn.Module):
    """Four heads of queries on two of keys; angles computed, or from a buffer that is sliced."""

    def __init__(self, buffer: bool) -> None:
        super().__init__()
        self.e, self.o, self.y = nn.Embedding(40, WIDTH), nn.Linear(WIDTH, 40), nn.Linear(WIDTH, WIDTH)
        self.q = nn.Linear(WIDTH, WIDTH, bias=False)
        self.k, self.v = (nn.Linear(WIDTH, WIDTH // 2, bias=False) for _ in range(2))
        self.n = nn.RMSNorm(WIDTH)
        self.gate, self.up, self.down = nn.Linear(WIDTH, 48), nn.Linear(WIDTH, 48), nn.Linear(48, WIDTH)
        rates = 100.0 ** (-torch.arange(0, HEAD, 2) / HEAD)
        self.register_buffer("rates", rates, persistent=False)
        self.register_buffer("table", torch.arange(TABLE)[:, None] * rates if buffer else None)

    def angles(self, t: int) -> Tensor:
        found = torch.arange(t)[:, None] * self.rates if self.table is None else self.table[:t]
        return torch.cat([found, found], -1)

    def forward(self, ids: Tensor) -> Tensor:
        b, t = ids.shape
        x = self.e(ids)
        y, angles = self.n(x), self.angles(t)
        q, k, v = (f(y).view(b, t, -1, HEAD).transpose(1, 2) for f in (self.q, self.k, self.v))
        q, k = (rotated(each, angles.cos(), angles.sin()) for each in (q, k))
        k, v = (each.repeat_interleave(2, 1) for each in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.y(y.transpose(1, 2).reshape(b, t, -1))
        return self.o(x + self.down(F.silu(self.gate(x)) * self.up(x)))


class PaddingMask(nn.Module):
    """BERT's way: a mask of tokens, and positions by its running sum."""

    def __init__(self) -> None:
        super().__init__()
        self.e, self.p, self.block = nn.Embedding(40, WIDTH), nn.Embedding(TABLE, WIDTH), Block()
        self.o = nn.Linear(WIDTH, 5)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        places = mask.cumsum(1) - 1
        wide = (1.0 - mask[:, None, None, :].to(torch.float32)) * -10000.0
        return self.o(self.block(self.e(ids) + self.p(places), wide))


class Cache(nn.Module):
    """Keys and values of earlier calls come in, and go out longer."""

    def __init__(self) -> None:
        super().__init__()
        self.i, self.y, self.o = nn.Linear(6, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 5)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 48), nn.Linear(48, WIDTH)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        b, t, _ = x.shape
        y = self.i(x)
        q, k, v = (part.view(b, t, HEADS, HEAD).transpose(1, 2) for part in self.qkv(y).chunk(3, -1))
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        every = k.shape[2]
        mask = torch.arange(every)[None, :] <= torch.arange(every - t, every)[:, None]
        y = y + self.y(F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).reshape(b, t, -1))
        return self.o(y + self.down(self.up(y).relu())), (k, v)


class Torch(nn.Module):
    """torch's own encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.i, self.o = nn.Linear(6, WIDTH), nn.Linear(WIDTH, 5)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 48, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.body(self.i(x)))


class SequenceFirst(nn.Module):
    """The batch is dimension 1."""

    def __init__(self) -> None:
        super().__init__()
        self.i, self.o = nn.Linear(6, WIDTH), nn.Linear(WIDTH, 5)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS)
        self.up, self.down = nn.Linear(WIDTH, 48), nn.Linear(48, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = self.i(x)
        y = y + self.attention(y, y, y, need_weights=False)[0]
        return self.o(y + self.down(self.up(y).relu()))


class Cross(nn.Module):
    """Queries and keys of different counts."""

    def __init__(self) -> None:
        super().__init__()
        self.i, self.j, self.o = nn.Linear(6, WIDTH), nn.Linear(7, WIDTH), nn.Linear(WIDTH, 5)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.up, self.down = nn.Linear(WIDTH, 48), nn.Linear(48, WIDTH)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        y, z = self.i(queries), self.j(keys)
        y = y + self.attention(y, z, z, need_weights=False)[0]
        return self.o(y + self.down(self.up(y).relu()))


class Detr(nn.Module):
    """Learned queries for every example."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.o = nn.Conv2d(3, WIDTH, 4, 4), nn.Linear(WIDTH, 5)
        self.queries = nn.Parameter(torch.randn(7, WIDTH))
        self.q, self.kv, self.y = (
            nn.Linear(WIDTH, WIDTH),
            nn.Linear(WIDTH, 2 * WIDTH),
            nn.Linear(WIDTH, WIDTH),
        )

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.conv(x).flatten(2).transpose(1, 2)
        b, n, _ = tokens.shape
        queries = self.queries.unsqueeze(0).repeat(b, 1, 1)
        q = self.q(queries).view(b, 7, HEADS, HEAD).transpose(1, 2)
        k, v = self.kv(tokens).view(b, n, 2, HEADS, HEAD).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).contiguous().view(b, 7, WIDTH)
        return self.o(queries + self.y(y))

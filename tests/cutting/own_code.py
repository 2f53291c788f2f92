"""Models whose own code reads sizes: halves, attributes, literals, configurations."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from models_zoo import torchvision_ops


class Conv(nn.Module):
    def __init__(self, before: int, after: int, size: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, size, stride, size // 2, bias=False)
        self.norm = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.silu(self.norm(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, width: int, shortcut: bool) -> None:
        super().__init__()
        self.one, self.two, self.shortcut = Conv(width, width, 3), Conv(width, width, 3), shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.two(self.one(x))
        return x + y if self.shortcut else y


class C2f(nn.Module):
    """Of YOLOv8: it reads halves of its first convolution, or parts by an attribute."""

    def __init__(self, before: int, after: int, shortcut: bool, by_attribute: bool) -> None:
        super().__init__()
        self.width, self.by_attribute = after // 2, by_attribute
        self.first, self.last = Conv(before, after), Conv(4 * self.width, after)
        self.blocks = nn.ModuleList(Bottleneck(self.width, shortcut) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        parts = list(x.split((self.width, self.width), 1) if self.by_attribute else x.chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.last(torch.cat(parts, 1))


def yolo() -> tuple[nn.Module, Any]:
    return nn.Sequential(
        Conv(3, 8, 3, 2), C2f(8, 16, True, False), C2f(16, 24, False, True), nn.Conv2d(24, 6, 1)
    ), torch.randn(1, 3, 16, 16)


class Attention(nn.Module):
    """Heads and their width are attributes, and so is the scale; its MLP has a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.width = 4, 6
        self.q, self.k, self.v = (nn.Linear(20, 24) for _ in range(3))
        self.out, self.up, self.down = nn.Linear(24, 20), nn.Linear(20, 64), nn.Linear(32, 20)
        self.scale = self.width**-0.5

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (
            each(x).view(b, t, self.heads, self.width).transpose(1, 2) for each in (self.q, self.k, self.v)
        )
        y = (q @ k.transpose(-1, -2) * self.scale).softmax(-1) @ v
        x = x + self.out(y.transpose(1, 2).reshape(b, t, self.heads * self.width))
        gate, value = self.up(x).chunk(2, -1)
        return x + self.down(gate.sigmoid() * value)


def attention() -> tuple[nn.Module, Any]:
    return nn.Sequential(nn.Linear(5, 20), Attention(), nn.Linear(20, 3)), torch.randn(2, 7, 5)


class Configured(nn.Module):
    """All blocks read one configuration, so their widths must stay equal; the number of heads stands in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(inner=10, options={"groups": 3})
        self.up = nn.ModuleList(nn.Linear(12, 10) for _ in range(3))
        self.down = nn.ModuleList(nn.Linear(10, 12) for _ in range(3))
        self.head = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        for up, down in zip(self.up, self.down, strict=True):
            x = x + down(up(x).relu().view(-1, self.config.inner))
        return self.head(x)


class Literal(nn.Module):
    """No attribute says what the code needs."""

    def __init__(self) -> None:
        super().__init__()
        self.free, self.up, self.down = nn.Linear(6, 9), nn.Linear(9, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(self.free(x).relu()).view(-1, 8))


class Divided(Literal):
    """It runs with every width, and computes otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(self.free(x).relu()) / self.up.out_features)


def language(name: str) -> tuple[nn.Module, Any]:
    torchvision_ops.ensure()
    import transformers

    ids = {"input_ids": torch.randint(5, 90, (2, 9))}
    common = {"vocab_size": 100, "use_cache": False}
    if name == "bert":
        config = transformers.BertConfig(
            vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
        )
        return transformers.BertModel(config), ids
    if name == "gpt2":
        config = transformers.GPT2Config(**common, n_embd=32, n_layer=2, n_head=4, n_positions=32)
        config.bos_token_id = config.eos_token_id = 1
        return transformers.GPT2LMHeadModel(config), ids
    if name == "t5":
        config = transformers.T5Config(**common, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
        return transformers.T5EncoderModel(config), ids
    if name == "llama":
        config = transformers.LlamaConfig(
            **common, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=8,
            num_key_value_heads=4,
        )  # fmt: skip
        return transformers.LlamaForCausalLM(config), ids
    config = transformers.WhisperConfig(
        d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=48, decoder_ffn_dim=48, num_mel_bins=16, max_source_positions=20, vocab_size=100,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    return transformers.WhisperModel(config).encoder, {"input_features": torch.randn(1, 16, 40)}


def vision(name: str) -> tuple[nn.Module, Any]:
    torchvision_ops.ensure()
    x = torch.randn(1, 3, 16, 16)
    if name == "timm":
        import timm

        return timm.models.VisionTransformer(
            img_size=16, patch_size=4, embed_dim=24, depth=2, num_heads=4, num_classes=7
        ), x
    if name == "swin":
        from torchvision.models.swin_transformer import SwinTransformer

        return SwinTransformer([2, 2], 16, [1, 1], [2, 4], [2, 2], num_classes=7), x
    from torchvision.models import VisionTransformer

    return VisionTransformer(16, 4, 2, 4, 24, 32, num_classes=7), x


Made = Callable[[], tuple[nn.Module, Any]]
MODELS: dict[str, Made] = {
    "yolo": yolo,
    "attention": attention,
    "configured": lambda: (Configured(), torch.randn(4, 12)),
    **{name: lambda name=name: language(name) for name in ("bert", "gpt2", "t5", "llama", "whisper")},  # type: ignore[misc]
    **{name: lambda name=name: vision(name) for name in ("torchvision", "timm", "swin")},  # type: ignore[misc]
}

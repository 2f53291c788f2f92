"""A captured and raised model computes what the original does, whatever operator it is spelled with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from graphprune.capture import capture
from graphprune.capture.layer_specs import PLAIN, RECURRENT, WEIGHTED
from graphprune.capture.raising import raise_program


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


class Applied(nn.Module):
    """A function on an input of shape (batch, 4, 6, 6), with a table of its own."""

    def __init__(self, function: Callable[..., Any], takes_table: bool = False) -> None:
        super().__init__()
        self.function, self.takes_table = function, takes_table
        self.table = nn.Parameter(torch.randn(4, 6))

    def forward(self, x: Tensor) -> Any:
        return self.function(x, self.table) if self.takes_table else self.function(x)


UNARY: list[Callable[[Tensor], Any]] = [
    lambda x: x + 1,
    lambda x: 1 - x,
    lambda x: x * 2.5 / 3,
    lambda x: 2 / (x.abs() + 1),
    lambda x: x // 0.5,
    lambda x: x % 0.7,
    lambda x: -x,
    lambda x: x**2,
    lambda x: 2**x,
    lambda x: x.add(x, alpha=2),
    lambda x: torch.sub(x, x.relu(), alpha=0.5),
    lambda x: torch.rsub(x, 3),
    lambda x: torch.div(x, 0.3, rounding_mode="floor"),
    lambda x: torch.addcmul(x, x, x, value=0.1),
    lambda x: torch.lerp(x, x * 2, 0.3),
    lambda x: x.clamp(min=0),
    lambda x: x.clamp(max=0.5),
    lambda x: x.clamp(-1, 1),
    lambda x: x.clip(-1, 1).sign(),
    lambda x: torch.where(x > 0, x, 0.1 * x),
    lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
    lambda x: x.masked_fill(x < 0, -1e4),
    lambda x: torch.maximum(x, x.flip(-1)),
    lambda x: x.exp().log1p().sqrt().rsqrt(),
    lambda x: x.abs().log() + x.sin() * x.cos(),
    lambda x: torch.erf(x) + torch.tanh(x) + x.sigmoid(),
    lambda x: torch.atan2(x, x + 1),
    lambda x: F.gelu(x),
    lambda x: F.gelu(x, approximate="tanh"),
    lambda x: F.silu(x) + F.mish(x) + F.hardswish(x) + F.hardsigmoid(x),
    lambda x: F.relu6(x) + F.hardtanh(x, -0.5, 0.5) + F.leaky_relu(x, 0.2),
    lambda x: F.elu(x, 0.7) + F.selu(x) + F.celu(x) + F.softplus(x) + F.softsign(x),
    lambda x: F.logsigmoid(x) + F.softshrink(x) + F.hardshrink(x) + F.tanhshrink(x),
    lambda x: F.glu(x, 1),
    lambda x: F.softmax(x, 1) + F.log_softmax(x, -1) + F.softmin(x, 2),
    lambda x: x.softmax(1, dtype=torch.float64),
    lambda x: F.dropout(x, 0.5, False) + F.dropout2d(x, 0.5, False),
    lambda x: F.normalize(x, dim=1),
    lambda x: F.layer_norm(x, (6,)),
    lambda x: F.layer_norm(x, (6, 6), eps=1e-2),
    lambda x: F.group_norm(x, 2),
    lambda x: F.instance_norm(x),
    lambda x: F.rms_norm(x, (6,)),
    lambda x: F.local_response_norm(x, 3),
    lambda x: F.max_pool2d(x, 2),
    lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    lambda x: F.max_pool2d(x, (2, 3), dilation=(1, 1)),
    lambda x: F.avg_pool2d(x, 2),
    lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
    lambda x: F.avg_pool2d(x, 3, divisor_override=4),
    lambda x: F.lp_pool2d(x, 2, 2),
    lambda x: F.adaptive_avg_pool2d(x, 1),
    lambda x: F.adaptive_avg_pool2d(x, (2, None)),
    lambda x: F.adaptive_max_pool2d(x, 2),
    lambda x: F.max_pool1d(x.flatten(2), 4) + F.avg_pool1d(x.flatten(2), 4),
    lambda x: F.interpolate(x, scale_factor=2),
    lambda x: F.interpolate(x, (9, 5), mode="bilinear", align_corners=False),
    lambda x: F.interpolate(x, scale_factor=0.5, mode="bicubic", antialias=True),
    lambda x: F.interpolate(x, size=x.shape[-2:], mode="nearest-exact"),
    lambda x: F.pad(x, (1, 2)),
    lambda x: F.pad(x, (1, 1, 2, 0), value=3.0),
    lambda x: F.pad(x, (1, 1, 2, 0), mode="reflect"),
    lambda x: F.pad(x, (1, 1, 2, 0), mode="replicate"),
    lambda x: F.pad(x, (1, 1, 2, 0), mode="circular"),
    lambda x: F.pad(x, (-1, 0, 0, -2)),
    lambda x: F.unfold(x, 2, stride=2),
    lambda x: F.fold(F.unfold(x, 2, stride=2), (6, 6), 2, stride=2),
    lambda x: F.pixel_shuffle(x, 2) if x.shape[1] == 4 else x,
    lambda x: F.pixel_unshuffle(x, 3),
    lambda x: F.channel_shuffle(x, 2),
    lambda x: F.one_hot(x.flatten(1).argmax(1), 144),
    lambda x: F.cosine_similarity(x, x + 1, dim=1),
    lambda x: F.grid_sample(x, x[:, :2].permute(0, 2, 3, 1).tanh(), align_corners=False),
    lambda x: x.view(-1, 2, 2, 6, 6),
    lambda x: x.view(x.shape[0] * 4, 36),
    lambda x: x.reshape(x.size(0), -1),
    lambda x: x.flatten(1),
    lambda x: x.flatten(2, -1).unflatten(2, (6, 6)),
    lambda x: x.flatten(2).unflatten(-1, (-1, 3)),
    lambda x: x.permute(0, 2, 3, 1).contiguous(),
    lambda x: x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last),
    lambda x: x.transpose(1, 2) + x.mT.movedim(1, 3).swapaxes(1, 3).transpose(1, 2),
    lambda x: x.unsqueeze(1).squeeze(1),
    lambda x: x[:, :1].squeeze(1),
    lambda x: x[:, :1].expand(-1, 4, -1, -1),
    lambda x: x[:, :1].expand_as(x),
    lambda x: x[:, 0],
    lambda x: x[:, -1],
    lambda x: x[0],
    lambda x: x[..., 1:5:2],
    lambda x: x[:, 1:-1, ::2],
    lambda x: x[:, None, :, :, -3:],
    lambda x: x[:, [0, 2, 3]],
    lambda x: x[:, :, torch.tensor([0, 5]), torch.tensor([1, 2])],
    lambda x: x[:, torch.arange(3, -1, -1)],
    lambda x: x.narrow(1, 1, 2),
    lambda x: x.select(2, 3),
    lambda x: x.index_select(1, torch.tensor([2, 0])),
    lambda x: x.gather(1, x.argsort(1)),
    lambda x: x.take_along_dim(x.argmax(1, keepdim=True), 1),
    lambda x: x.chunk(2, 1),
    lambda x: x.chunk(2, dim=-1)[1],
    lambda x: x.split(3, 2),
    lambda x: x.split([1, 3], 1),
    lambda x: torch.tensor_split(x, 3, 1),
    lambda x: x.unbind(1),
    lambda x: torch.cat([x, x.relu()], 1),
    lambda x: torch.cat([x, x], dim=-1),
    lambda x: torch.stack([x, x], 1),
    lambda x: torch.stack([x, x], -1),
    lambda x: x.repeat(1, 2, 1, 1),
    lambda x: x.tile((2, 1)),
    lambda x: x.repeat_interleave(2, 1),
    lambda x: x.roll(1, 2),
    lambda x: x.roll((1, -2), (2, 3)),
    lambda x: x.flip(1, 2),
    lambda x: x.rot90(1, (2, 3)),
    lambda x: x.sum(),
    lambda x: x.sum(1) + x.mean(1) + x.amax(1) + x.amin(1),
    lambda x: x.sum((2, 3), keepdim=True) * x.mean((2, 3), keepdim=True),
    lambda x: x.mean(),
    lambda x: x.max(1)[0] + x.min(1).values,
    lambda x: x.max(1, keepdim=True)[1],
    lambda x: torch.std_mean(x, 1),
    lambda x: x.var(1, unbiased=False) + x.std(1),
    lambda x: x.norm(dim=1) + torch.linalg.vector_norm(x, 1, 1),
    lambda x: x.logsumexp(1) + x.prod(1),
    lambda x: x.cumsum(1) + x.cumprod(2),
    lambda x: x.sort(1, descending=True)[0],
    lambda x: x.topk(2, 1),
    lambda x: (x > 0).any(1) & (x < 5).all(1),
    lambda x: x.argmax(1).float(),
    lambda x: x.tril() + x.triu(1),
    lambda x: x.diagonal(dim1=2, dim2=3),
    lambda x: x @ x.mT,
    lambda x: torch.einsum("bchw,bdhw->bcd", x, x),
    lambda x: torch.einsum("b c h w -> b h w c", x),
    lambda x: torch.bmm(x.flatten(2), x.flatten(2).mT),
    lambda x: torch.baddbmm(x[:, 0], x[:, 1], x[:, 2], beta=0.5, alpha=2),
    lambda x: torch.addmm(x.flatten(1)[:, :4], x.flatten(1), torch.ones(144, 4), beta=2),
    lambda x: torch.cdist(x.flatten(2), x.flatten(2)),
    lambda x: torch.outer(x[0, 0, 0], x[0, 0, 1]),
    lambda x: x.to(torch.float64).float(),
    lambda x: x.double() + x.half().float(),
    lambda x: x.type_as(x.double()),
    lambda x: (x * 10).long() // 3,
    lambda x: (x > 0).to(x.dtype) * x,
    lambda x: x + torch.arange(6, device=x.device),
    lambda x: x + torch.linspace(0, 1, 6) + torch.ones(6, 6) + x.new_zeros(6) + x.new_full((1,), 2.0),
    lambda x: torch.zeros_like(x) + torch.ones_like(x) + torch.full_like(x, 0.5),
    lambda x: torch.zeros(x.shape[0], 4) + x.mean((2, 3)),
    lambda x: x + torch.tensor([1.0, 2, 3, 4]).view(4, 1, 1),
    lambda x: torch.fft.irfft(torch.fft.rfft(x)),
    lambda x: x * math.sqrt(x.shape[1]),
    lambda x: x.detach() + x.clone(),
    lambda x: F.scaled_dot_product_attention(x, x, x),
    lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    lambda x: F.scaled_dot_product_attention(x, x, x, x[:, :1], scale=0.1),
    lambda x: F.scaled_dot_product_attention(x, x[:, :2], x[:, :2], enable_gqa=True),
    lambda x: {"a": x, "b": [x.relu(), (x, None)]},
]


@pytest.mark.parametrize("index", range(len(UNARY)))
def test_functions_and_methods(index: int) -> None:
    _assert_same(Applied(UNARY[index]), torch.randn(2, 4, 6, 6))


def _assert_same(model: nn.Module, x: Tensor) -> nn.Module:
    model.eval()
    program = capture(model, x)
    raised = raise_program(program)
    batches = (x, torch.randn(5, *x.shape[1:])) if program.dynamic_batch and x.is_floating_point() else (x,)
    for batch in batches:
        with torch.no_grad():
            wanted, given = model(batch), raised(batch)
        (wanted, shape), (given, other) = pytree.tree_flatten(wanted), pytree.tree_flatten(given)
        assert len(wanted) == len(given), (shape, other)
        for one, two in zip(wanted, given, strict=True):
            assert (one is None and two is None) or one.dtype is two.dtype
            # eager attention takes another kernel in eval mode
            assert one is None or torch.allclose(one.double(), two.double(), 1e-5, 1e-6, equal_nan=True)
    return raised


TABLE: list[Callable[[Tensor, Tensor], Any]] = [
    lambda x, t: F.linear(x, t),
    lambda x, t: F.linear(x, t, t[:, 0]),
    lambda x, t: F.layer_norm(x, (6,), t[0], t[1]),
    lambda x, t: F.layer_norm(x, (6,), t[0]),
    lambda x, t: F.batch_norm(x, t[:, 0], t[:, 1].exp(), t[:, 2], t[:, 3]),
    lambda x, t: F.group_norm(x, 2, t[:, 0], t[:, 1]),
    lambda x, t: F.conv2d(x, t[:, :4, None, None]),
    lambda x, t: F.conv2d(x, t[:, :1, None, None], t[:, 0], groups=4),
    lambda x, t: F.conv2d(x, t.view(4, 1, 2, 3), padding="same", groups=4),
    lambda x, t: F.conv2d(x, t.view(4, 1, 2, 3), stride=2, dilation=2, groups=4),
    lambda x, t: F.conv_transpose2d(x, t.view(4, 1, 2, 3), stride=2, output_padding=1, groups=4),
    lambda x, t: F.conv1d(x.flatten(2), t.view(4, 1, 6), groups=4),
    lambda x, t: F.prelu(x, t[:, 0]),
    lambda x, t: F.embedding((x[:, 0] > 0).long(), t),
    lambda x, t: F.bilinear(x, x, t.view(1, 4, 6).expand(2, 4, 6)[:, :, :6].repeat(1, 2, 1)[:, :6]),
    lambda x, t: x * t[:, :1, None] + t[:, 1:2, None],
    lambda x, t: x @ t.t(),
]


@pytest.mark.parametrize("index", range(len(TABLE)))
def test_functions_of_parameters(index: int) -> None:
    raised = _assert_same(Applied(TABLE[index], True), torch.randn(2, 4, 6, 6))
    assert isinstance(raised.table, nn.Parameter)


# -- layers -----------------------------------------------------------------------------------------------

LAYERS: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (lambda: nn.Conv1d(4, 6, 3, 2, 1, bias=False), (4, 9)),
    (lambda: nn.Conv2d(4, 6, (3, 1), (1, 2), (1, 0), 1, 2), (4, 6, 6)),
    (lambda: nn.Conv2d(4, 4, 3, padding="same", groups=4), (4, 6, 6)),
    (lambda: nn.Conv2d(4, 4, 3, padding="valid", dilation=2), (4, 6, 6)),
    (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), (4, 6, 6)),
    (lambda: nn.Conv3d(4, 6, 2), (4, 3, 3, 3)),
    (lambda: nn.ConvTranspose1d(4, 6, 3, 2), (4, 5)),
    (lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, 2), (4, 5, 5)),
    (lambda: nn.ConvTranspose3d(4, 6, 2, bias=False), (4, 3, 3, 3)),
    (lambda: nn.Linear(4, 6), (3, 4)),
    (lambda: nn.Linear(4, 6, bias=False), (4,)),
    (lambda: nn.Bilinear(4, 4, 5), (4,)),
    (lambda: nn.BatchNorm1d(4, eps=1e-2, momentum=0.3), (4,)),
    (lambda: nn.BatchNorm1d(4, affine=False), (4, 5)),
    (lambda: nn.BatchNorm2d(4, momentum=None), (4, 6, 6)),
    (lambda: nn.BatchNorm2d(4, track_running_stats=False), (4, 6, 6)),
    (lambda: nn.BatchNorm3d(4), (4, 2, 2, 2)),
    (lambda: nn.InstanceNorm2d(4, affine=True), (4, 6, 6)),
    (lambda: nn.InstanceNorm1d(4, track_running_stats=True), (4, 6)),
    (lambda: nn.LayerNorm(6, 1e-3), (4, 6)),
    (lambda: nn.LayerNorm((4, 6)), (4, 6)),
    (lambda: nn.LayerNorm(6, bias=False), (4, 6)),
    (lambda: nn.LayerNorm(6, elementwise_affine=False), (4, 6)),
    (lambda: nn.RMSNorm(6), (4, 6)),
    (lambda: nn.RMSNorm(6, elementwise_affine=False), (4, 6)),
    (lambda: nn.GroupNorm(2, 4), (4, 6)),
    (lambda: nn.GroupNorm(2, 4, affine=False), (4, 6)),
    (lambda: nn.LocalResponseNorm(2), (4, 6, 6)),
    (lambda: nn.PReLU(), (4, 6)),
    (lambda: nn.PReLU(4), (4, 6)),
    (lambda: nn.MultiheadAttention(6, 2, batch_first=True), (4, 6)),
    (lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, activation="gelu"), (4, 6)),
    (lambda: nn.LSTM(6, 4, batch_first=True), (4, 6)),
    (lambda: nn.LSTM(6, 4, 2, bias=False, dropout=0.3, proj_size=3), (4, 6)),
    (lambda: nn.GRU(6, 4, 2, batch_first=True, bidirectional=True), (4, 6)),
    (lambda: nn.RNN(6, 4, batch_first=True), (4, 6)),
    (lambda: nn.RNN(6, 4, nonlinearity="relu"), (4, 6)),
    (lambda: nn.LSTMCell(6, 4), (6,)),
    (lambda: nn.GRUCell(6, 4, bias=False), (6,)),
    (lambda: nn.RNNCell(6, 4, nonlinearity="relu"), (6,)),
    (lambda: nn.ReLU(inplace=True), (4,)),
    (lambda: nn.ReLU6(inplace=True), (4,)),
    (lambda: nn.Hardtanh(-2, 3), (4,)),
    (lambda: nn.LeakyReLU(0.3, inplace=True), (4,)),
    (lambda: nn.ELU(0.5), (4,)),
    (lambda: nn.GELU("tanh"), (4,)),
    (lambda: nn.SiLU(inplace=True), (4,)),
    (lambda: nn.Mish(), (4,)),
    (lambda: nn.Hardswish(inplace=True), (4,)),
    (lambda: nn.Hardsigmoid(), (4,)),
    (lambda: nn.Sigmoid(), (4,)),
    (lambda: nn.Tanh(), (4,)),
    (lambda: nn.Softmax(-1), (4,)),
    (lambda: nn.Softmax2d(), (4, 6, 6)),
    (lambda: nn.LogSoftmax(1), (4,)),
    (lambda: nn.Softplus(2), (4,)),
    (lambda: nn.GLU(1), (4,)),
    (lambda: nn.MaxPool1d(3, 2), (4, 9)),
    (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), (4, 6, 6)),
    (lambda: nn.MaxPool2d(2), (4, 6, 6)),
    (lambda: nn.MaxPool2d(2, return_indices=True), (4, 6, 6)),
    (lambda: nn.MaxPool3d(2), (4, 4, 4, 4)),
    (lambda: nn.AvgPool1d(3), (4, 9)),
    (lambda: nn.AvgPool2d(3, 2, 1, True, False), (4, 6, 6)),
    (lambda: nn.AvgPool2d(3, divisor_override=2), (4, 6, 6)),
    (lambda: nn.AvgPool3d(2), (4, 4, 4, 4)),
    (lambda: nn.AdaptiveAvgPool1d(3), (4, 9)),
    (lambda: nn.AdaptiveAvgPool2d((3, None)), (4, 6, 6)),
    (lambda: nn.AdaptiveAvgPool3d(1), (4, 4, 4, 4)),
    (lambda: nn.AdaptiveMaxPool2d(2), (4, 6, 6)),
    (lambda: nn.Flatten(), (4, 6)),
    (lambda: nn.Flatten(2, 3), (4, 6, 6)),
    (lambda: nn.Unflatten(1, (2, 2)), (4, 6)),
    (lambda: nn.PixelShuffle(2), (4, 6, 6)),
    (lambda: nn.PixelUnshuffle(2), (4, 6, 6)),
    (lambda: nn.ChannelShuffle(2), (4, 6, 6)),
    (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (4, 6, 6)),
    (lambda: nn.ZeroPad2d(1), (4, 6, 6)),
    (lambda: nn.ReflectionPad2d((1, 2, 0, 1)), (4, 6, 6)),
    (lambda: nn.Dropout(0.3), (4,)),
    (lambda: nn.Dropout(0.3, inplace=True), (4,)),
    (lambda: nn.Dropout1d(0.3), (4, 6)),
    (lambda: nn.Dropout2d(0.3), (4, 6, 6)),
    (lambda: nn.AlphaDropout(0.3), (4,)),
    (lambda: nn.Identity(), (4,)),
]

ASK = {nn.Bilinear: lambda layer, x: layer(x, x), nn.MultiheadAttention: lambda layer, x: layer(x, x, x)}


class Named(nn.Module):
    """A layer under a name two levels down."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.stage = nn.ModuleDict({"layer": layer})

    def forward(self, x: Tensor) -> Any:
        layer = self.stage["layer"]
        return ASK.get(type(layer), lambda layer, x: layer(x))(layer, x * 1.5)


@pytest.mark.parametrize("index", range(len(LAYERS)))
def test_layers(index: int) -> None:
    build, shape = LAYERS[index]
    layer = build()
    for name, buffer in layer.named_buffers():
        if name.startswith("running"):
            buffer.copy_(torch.rand(buffer.shape) + 0.5)
    raised = _assert_same(Named(layer), torch.randn(2, *shape))
    assert {n for n, _ in raised.named_parameters()} == {
        f"stage.layer.{n}" for n, _ in layer.named_parameters()
    }


# what a constructor call cannot say, or what is kept as a function
_AS_FUNCTIONS = (
    "track_running_stats=False",
    "padding_mode",
    "elementwise_affine=False",
    "GroupNorm(2, 4, eps=1e-05, affine=False",
)


def _raised_kinds() -> set[str]:
    tables = (*WEIGHTED.values(), *RECURRENT.values(), *PLAIN.values())
    kinds = {spec.kind for spec in tables if isinstance(spec.kind, str)}
    return kinds | {"ReLU6", "Hardtanh", "BatchNorm1d", "BatchNorm3d", "Dropout1d", "Dropout2d"}


def _plain(value: Any) -> Any:
    """``(2, 2)`` and ``2`` say the same; an adaptive pool's None is a size that the capture knows."""
    same = isinstance(value, tuple | list) and len(set(value)) == 1
    return value[0] if same else value


@pytest.mark.parametrize("index", range(len(LAYERS)))
def test_standard_layers_come_back_as_themselves(index: int) -> None:
    build, shape = LAYERS[index]
    layer = build().eval()
    raised = raise_program(capture(Named(layer), torch.randn(2, *shape)))
    output_size = getattr(layer, "output_size", ())
    follows = isinstance(output_size, tuple) and None in output_size  # a size of the input, which varies
    as_function = (
        follows
        or getattr(layer, "return_indices", False)
        or any(text in repr(layer) for text in _AS_FUNCTIONS)
    )
    if as_function or type(layer).__name__ not in _raised_kinds():
        return  # it computes the same, see above
    back = raised.get_submodule("stage.layer")
    assert type(back) is type(layer)
    for name, value in vars(layer).items():
        if not name.startswith("_") and name not in ("inplace", "output_size", "return_indices"):
            assert _plain(getattr(back, name)) == _plain(value), name


def test_an_embedding_keeps_how_its_gradient_is_made() -> None:
    """A sparse one has a sparse gradient, and one by frequency divides it by how often a row was read."""
    tokens = torch.tensor([[0, 1, 1], [2, 1, 0]])
    for options in ({"sparse": True}, {"scale_grad_by_freq": True}):
        torch.manual_seed(0)
        layer = nn.Sequential(nn.Embedding(5, 4, **options), nn.Linear(4, 2)).eval()
        raised = raise_program(capture(layer, tokens))
        back, own = raised.get_submodule("0"), layer[0]
        assert (back.sparse, back.scale_grad_by_freq) == (own.sparse, own.scale_grad_by_freq)
        for model in (layer, raised):
            model(tokens).square().sum().backward()
        assert back.weight.grad.is_sparse == own.sparse
        torch.testing.assert_close(back.weight.grad.to_dense(), own.weight.grad.to_dense())

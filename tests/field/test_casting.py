"""A slim model can be cast as the model can: what was read from a tensor follows, what the user wrote stays."""

from __future__ import annotations

import copy
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp
from graphprune.ground.arguments import dtype_of, limit_of

ATEN = torch.ops.aten


class RMSNorm(nn.Module):
    """As in Llama: computed in float32, which the user wrote."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        dtype = x.dtype
        x = x.to(torch.float32)
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * x.to(dtype)


def timestep_embedding(t: Tensor, width: int) -> Tensor:
    """As in diffusers: frequencies in float32, whatever the model's dtype."""
    half = width // 2
    frequencies = torch.exp(
        -math.log(10000) * torch.arange(0, half, dtype=torch.float32, device=t.device) / half
    )
    angles = t[:, None].float() * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], -1)


class Diffusion(nn.Module):
    """A UNet's and a DiT's beginning: sinusoidal timesteps cast to the sample's dtype, norms in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.time = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Sequential(nn.Linear(16, 12), nn.SiLU(), nn.Linear(12, 8)),
        )
        self.norm, self.out = nn.GroupNorm(2, 8), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h = self.conv(x)
        e = self.time(timestep_embedding(t, 16).to(dtype=x.dtype))
        h = h + e[:, :, None, None]
        n = F.group_norm(h.float(), 2, self.norm.weight.float(), self.norm.bias.float(), 1e-5).type(h.dtype)
        return self.out(F.silu(n))


class Decoder(nn.Module):
    """Llama and GPT-2: a mask of the smallest number, a softmax in float32, rotary tables, a stream of residuals."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.last = nn.Embedding(20, 16), RMSNorm(16), RMSNorm(16)
        self.q, self.k, self.v, self.o = (nn.Linear(16, 16, bias=False) for _ in range(4))
        self.up, self.down, self.head = nn.Linear(16, 24), nn.Linear(24, 16), nn.Linear(16, 20)

    def forward(self, ids: Tensor) -> Tensor:
        b, n = ids.shape
        h = self.embed(ids)
        x = self.norm(h)
        q, k, v = (layer(x).view(b, n, 4, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
        inv = 1.0 / 100 ** (torch.arange(0, 4, 2, dtype=torch.int64).float() / 4)
        angles = torch.arange(n)[:, None].float() * inv
        angles = torch.cat([angles, angles], -1)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        q, k = (z * cos + torch.cat([-z[..., 2:], z[..., :2]], -1) * sin for z in (q, k))
        low = torch.finfo(x.dtype).min
        mask = torch.full((n, n), low, dtype=x.dtype, device=x.device).triu(1)
        s = q @ k.transpose(-1, -2) * 0.5 + mask
        s = torch.max(s, torch.tensor(low, dtype=s.dtype))
        p = F.softmax(s, dim=-1, dtype=torch.float32).to(q.dtype)
        h = h + self.o((p @ v).transpose(1, 2).reshape(b, n, 16))
        return self.head(h + self.down(F.silu(self.up(self.last(h)))))


class Speech(nn.Module):
    """Whisper and wav2vec 2.0: inputs in the weights' dtype, a fill by half the smallest number, new tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mid, self.head = nn.Conv1d(4, 8, 3, padding=1), nn.Linear(8, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = F.gelu(self.conv(x.to(dtype=self.conv.weight.dtype))).transpose(1, 2)
        if h.dtype == torch.float16:
            top = torch.finfo(h.dtype).max - 1000
            h = torch.clamp(h, min=-top, max=top)
        h = self.mid(h)
        keep = (h.mean(-1, keepdim=True) > -10).to(h.dtype)
        h = h + torch.zeros(h.shape[0], 1, 12, dtype=h.dtype, device=h.device)
        h = h.masked_fill(keep == 0, torch.finfo(h.dtype).min / 2) * keep
        return self.head(h + h.new_tensor([0.5]) + h.new_zeros(12))


class Scan(nn.Module):
    """Mamba: a recurrence in float32 over a state, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.dt, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 6)
        self.a = nn.Parameter(torch.rand(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.inside(x)
        dt, a = F.softplus(self.dt(h)).float(), -torch.exp(self.a.float())
        state = torch.zeros(x.shape[0], 8, 2, dtype=torch.float32)
        rows = []
        for step in range(3):
            state = state * torch.exp(dt[:, step, :, None] * a) + (dt * h.float())[:, step, :, None]
            rows.append(state.sum(-1))
        return self.out(torch.stack(rows, 1).to(x.dtype))


class Flow(nn.Module):
    """RAFT: a grid of coordinates in the image's dtype, sampled."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        f = self.features(x)
        b, _, height, width = f.shape
        ys, xs = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        grid = torch.stack([xs, ys], -1)[None].expand(b, -1, -1, -1).to(f.dtype)
        return self.head(F.grid_sample(f, grid * 0.9, align_corners=True).relu())


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...]]] = {
    "diffusion": (Diffusion, (torch.randn(2, 3, 8, 8), torch.tensor([3, 977]))),
    "decoder": (Decoder, (torch.arange(14).reshape(2, 7),)),
    "speech": (Speech, (torch.randn(2, 4, 9),)),
    "scan": (Scan, (torch.randn(2, 3, 6),)),
    "flow": (Flow, (torch.randn(2, 3, 6, 6),)),
}
TOLERANCE = {torch.bfloat16: 2e-2, torch.float16: 3e-3, torch.float64: 1e-7}


def _cast(inputs: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return tuple(leaf.to(dtype) if leaf.is_floating_point() else leaf for leaf in inputs)


def _from_file(folder: Path) -> nn.Module:
    spec = importlib.util.spec_from_file_location("slim_model", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load()


@pytest.mark.parametrize("name", MODELS)
def test_cast_alike(name: str, tmp_path: Path) -> None:
    """Nothing is removed, so that all are one function: in every dtype each gives what the cast model gives."""
    torch.manual_seed(0)
    make, inputs = MODELS[name]
    model = make().eval()
    result = gp.shrink(model, inputs, ratio=0.0)
    result.save(tmp_path / "slim", onnx=name == "decoder", latency=False)
    for dtype, tolerance in TOLERANCE.items():
        for get in (
            lambda: result.model,
            lambda: gp.load(tmp_path / "slim"),
            lambda: _from_file(tmp_path / "slim"),
        ):
            with torch.no_grad():
                wanted = copy.deepcopy(model).to(dtype)(*_cast(inputs, dtype))
                given = copy.deepcopy(get()).to(dtype)(*_cast(inputs, dtype))
            assert given.dtype == wanted.dtype == dtype
            torch.testing.assert_close(given, wanted, rtol=0, atol=tolerance * float(wanted.abs().max()))


@pytest.mark.parametrize("name", MODELS)
def test_a_slim_model_is_cast_and_moved(name: str) -> None:
    """After a cut; and to the meta device, which refuses tensors of any other."""
    torch.manual_seed(0)
    make, inputs = MODELS[name]
    slim = gp.shrink(make().eval(), inputs, ratio=0.5).model
    for dtype in (torch.bfloat16, torch.float64):
        assert copy.deepcopy(slim).to(dtype)(*_cast(inputs, dtype)).dtype == dtype
    half = copy.deepcopy(slim).half()(*_cast(inputs, torch.float16))
    assert half.isfinite().all()
    moved = copy.deepcopy(slim).to("meta")(*(leaf.to("meta") for leaf in inputs))
    assert moved.device.type == "meta"


def test_what_follows_and_what_stays() -> None:
    graph = gp.trace(Decoder().eval(), MODELS["decoder"][1]).program.graph
    casts = [node.args[1] for node in graph.nodes if node.target is ATEN.to.dtype]
    followed = [dtype for dtype in casts if getattr(dtype, "target", None) is dtype_of]
    assert len(followed) == 6  # two norms, the cosine, the sine, the lower limit, the probabilities
    assert len(casts) == 9  # and in float32, which the user wrote, two norms and the positions
    (full,) = (node for node in graph.nodes if node.target is ATEN.full.default and node.args[0])
    assert full.args[1].target is limit_of
    assert full.args[1].args[1] == "min"
    assert full.kwargs["dtype"].target is dtype_of
    (embedding,) = (node for node in graph.nodes if node.target is ATEN.embedding.default)
    # the stream of residuals is not the float32 that a norm made of it
    assert [user.target for user in embedding.users] == [dtype_of, ATEN.to.dtype, ATEN.add.Tensor]


def test_a_dtype_that_decides_is_noted() -> None:
    notes = gp.trace(Speech().eval(), MODELS["speech"][1]).program.notes
    assert any("computes otherwise in float16" in note for note in notes)


def test_a_model_in_bfloat16_becomes_float32() -> None:
    torch.manual_seed(0)
    model, inputs = Decoder().eval().bfloat16(), MODELS["decoder"][1]
    slim = gp.shrink(model, inputs, ratio=0.0).model.float()
    with torch.no_grad():
        torch.testing.assert_close(slim(*inputs), model.float()(*inputs))


def test_a_limit_that_would_overflow_follows() -> None:
    """The smallest float32 is no float16: were it left in the graph, PyTorch would refuse it, or make it infinite."""
    torch.manual_seed(0)
    model = Speech().eval()
    program = gp.trace(model, MODELS["speech"][1]).program
    (fill,) = (node for node in program.graph.nodes if node.target is ATEN.masked_fill.Scalar)
    assert fill.args[2].args[0].target is limit_of
    assert fill.args[2].args[1] == pytest.approx(0.5)


def test_constants_keep_their_precision() -> None:
    """Frequencies rounded to bfloat16 would be wrong by radians at timestep 977."""
    make, inputs = MODELS["diffusion"]
    slim = gp.shrink(make().eval(), inputs, ratio=0.0).model.bfloat16()
    (constant,) = (buffer for name, buffer in slim.named_buffers() if "constant" in name)
    wanted = torch.exp(-math.log(10000) * torch.arange(0, 8, dtype=torch.float32) / 8)
    assert torch.equal(constant.view(torch.float32).flatten(), wanted)

"""Complex parameters and values: Fourier neural operators and their kind, against the original cut by hand."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from black_box import difference, reproducible  # noqa: F401  (one is a fixture)
from torch import Tensor, nn

import graphprune as gp


class Mixed(nn.Module):
    """Frequencies times a complex matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.o = nn.Linear(6, 16), nn.Linear(12, 4)
        self.w = nn.Parameter(torch.randn(16, 12, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        return self.o(torch.fft.ifft(torch.fft.fft(self.a(x), dim=1) @ self.w, dim=1).real)


class Spectral(nn.Module):
    """The low frequencies of a series, mixed one by one (Li et al., "Fourier Neural Operator", 2021)."""

    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        self.weight = nn.Parameter(torch.randn(width, width, modes, dtype=torch.cfloat) / width)

    def forward(self, x: Tensor) -> Tensor:
        low = torch.fft.rfft(x)[:, :, : self.modes]
        mixed = torch.einsum("bix,iox->box", low, self.weight)
        return torch.fft.irfft(F.pad(mixed, (0, x.shape[-1] // 2 + 1 - self.modes)), n=x.shape[-1])


class Operator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lift, self.drop = nn.Linear(2, 16), nn.Linear(16, 1)
        self.spectral = nn.ModuleList(Spectral(16, 4) for _ in range(2))
        self.local = nn.ModuleList(nn.Conv1d(16, 16, 1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x).permute(0, 2, 1)
        for spectral, local in zip(self.spectral, self.local, strict=True):
            x = F.gelu(spectral(x) + local(x))
        return self.drop(x.permute(0, 2, 1))


def zeroed(model: nn.Module, plan: gp.Plan) -> nn.Module:
    """The original with every removed slice at zero; nothing in these models averages over units."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            for dim, kept in plan.kept.get(name, {}).items():
                gone = [place for place in range(parameter.shape[dim]) if place not in kept.tolist()]
                parameter.index_fill_(dim, torch.tensor(gone), 0)
    return model


@pytest.mark.parametrize(("build", "example"), [(Mixed, (2, 8, 6)), (Operator, (2, 16, 2))])
def test_complex_parameters(build: type[nn.Module], example: tuple[int, ...]) -> None:
    model, x = build(), torch.randn(example)
    result = gp.shrink(model, x, ratio=0.5, importance="random")
    assert result.verdict.passed
    assert result.after.params < 0.6 * result.before.params
    random = next(c for c in result.verdict.checks if c.name == "random parameters, every node")
    assert random.limit == 1e-10
    for batch in (1, 2, 5):
        x = torch.randn(batch, *example[1:])
        with torch.no_grad():
            assert difference(zeroed(model, result.plan)(x), result.model(x)) < 1e-5


def test_complex_inputs_and_outputs() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(6, 16, dtype=torch.cfloat)
            self.o = nn.Linear(16, 4, dtype=torch.cfloat)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            return self.o(y * y.abs().tanh())

    model, x = Net(), torch.randn(3, 6, dtype=torch.cfloat)
    result = gp.shrink(model, x, ratio=0.5, importance="random")
    with torch.no_grad():
        assert (zeroed(model, result.plan)(x) - result.model(x)).abs().max() < 1e-5


def test_a_complex_model_comes_back_from_its_folder(tmp_path: Path) -> None:
    model, x = Operator(), torch.randn(2, 16, 2)
    result = gp.shrink(model, x, ratio=0.5, importance="random")
    result.save(tmp_path / "slim", latency=False, onnx=False)
    with torch.no_grad():
        torch.testing.assert_close(gp.load(tmp_path / "slim")(x), result.model(x))

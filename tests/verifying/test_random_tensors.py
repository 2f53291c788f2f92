"""Random values for a slim module: all names, no blindness, the same every time."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import nn
from torch.func import functional_call

from graphprune.capture.program import Stored
from graphprune.verifying import Lively
from graphprune.verifying.tensors import drawn_like, randomised


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 5), nn.Linear(5, 7)
        self.head.weight = self.embed.weight
        self.norm = nn.BatchNorm1d(5)
        self.register_buffer("table", torch.arange(3.0))


def test_every_name_has_a_value_and_ties_have_one() -> None:
    module = Tied()
    drawn = Lively(module, 0)
    own = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers())
    assert set(drawn) == set(own)
    assert len(drawn) == len(own)
    for name, tensor in own.items():
        assert (drawn[name].shape, drawn[name].dtype) == (tensor.shape, tensor.dtype)
        kept = name in ("table", "norm.num_batches_tracked")
        assert torch.equal(drawn[name], tensor) == kept, name
    assert torch.equal(drawn["embed.weight"], drawn["head.weight"])
    assert drawn["norm.running_var"].min() > 0


def test_values_depend_on_the_seed_alone() -> None:
    module = Tied()
    first, again, other = (Lively(module, seed)["head.bias"] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("uniform", [False, True])
def test_many_numbers_are_as_random_as_few(uniform: bool) -> None:
    """Blocks repeat in them, but no row or column is that of another place."""
    like = torch.empty(3000, 1024)
    drawn, again, other = (
        drawn_like(like, torch.Generator().manual_seed(seed), uniform) for seed in (0, 0, 1)
    )
    assert torch.equal(drawn, again)
    assert (drawn == other).double().mean() < 0.01
    mean, deviation = (0.5, 12**-0.5) if uniform else (0.0, 1.0)
    assert float(drawn.mean()) == pytest.approx(mean, abs=0.01)
    assert float(drawn.std()) == pytest.approx(deviation, abs=0.01)
    for rows in (drawn, drawn.t()):
        alike = torch.corrcoef(rows[:2000]).fill_diagonal_(0)
        assert alike.abs().max() < 0.5


def deep() -> nn.Module:
    blocks = [(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()) for _ in range(30)]
    return nn.Sequential(*(layer for block in blocks for layer in block)).eval()


def test_the_input_of_a_deep_net_reaches_the_output() -> None:
    module = deep()
    x, y = torch.randn(2, 1, 8, 6, 6, generator=torch.Generator().manual_seed(0))

    def change(tensors: Mapping[str, torch.Tensor]) -> float:
        with torch.no_grad():
            one, other = (functional_call(module, dict(tensors), each) for each in (x, y))
        return float((one - other).abs().max() / one.abs().max())

    stored = {name: Stored(name, "parameter", tensor) for name, tensor in module.named_parameters()}
    assert change(Lively(module, 0)) > 1e-2
    assert change(randomised(stored, 0, None)) < 1e-3


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(64, 64) for _ in range(14))

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x


def test_residual_streams_stay_in_the_range_of_half_precision() -> None:
    module, x = Residual(), torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    drawn = Lively(module, 0)
    with torch.no_grad():
        assert functional_call(module, dict(drawn), x).abs().max() > torch.finfo(torch.float16).max / 4
        assert functional_call(module.half(), dict(Lively(module, 0)), x.half()).abs().max() < 1e4

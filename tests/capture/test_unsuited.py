"""What is made of a model after it is pruned is refused, and says what to give in its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.ao import quantization

import graphprune as gp

pytestmark = pytest.mark.filterwarnings("ignore")
IMAGE = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def net() -> nn.Sequential:
    layers = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(32, 5))
    return nn.Sequential(*layers).eval()


def prepared() -> nn.Module:
    model = net().train()
    model.qconfig = quantization.get_default_qat_qconfig("x86")
    return quantization.prepare_qat(model)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "prepared": (prepared, r"weight_fake_quant \(.*prune before prepare_qat"),
    "quantised": (
        lambda: quantization.quantize_dynamic(net(), {nn.Linear}),
        r"4 \(Linear\) holds numbers that are quantised — give the float model, and quantise result.model",
    ),
    "scripted": (
        lambda: torch.jit.script(net()),
        r"the model \(RecursiveScriptModule\) .* give the Python module that it was made of",
    ),
    "traced": (lambda: torch.jit.trace(net(), IMAGE), "give the Python module that it was made of"),
    "a part is scripted": (
        lambda: nn.Sequential(torch.jit.script(net()), nn.Linear(5, 5)),
        r"0 \(RecursiveScriptModule\)",
    ),
}


@pytest.mark.parametrize("label", REFUSED)
def test_refused(label: str) -> None:
    build, text = REFUSED[label]
    with pytest.raises(gp.InputError, match=text):
        gp.shrink(build(), IMAGE, ratio=0.5)


def test_what_is_refused_can_be_made_of_the_slim_model() -> None:
    slim = gp.shrink(net(), IMAGE, ratio=0.5).model
    expected = slim(IMAGE)
    assert torch.equal(torch.jit.trace(slim, IMAGE)(IMAGE), expected)
    quantised = quantization.quantize_dynamic(slim, {nn.Linear})
    assert torch.allclose(quantised(IMAGE), expected, atol=0.1 * float(expected.abs().max()))

"""Tensors made of sizes, in onnxruntime at sizes other than the example's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphprune.capture import capture
from graphprune.exporting import export_onnx
from graphprune.exporting.runtime import runner, session

MADE: dict[str, Callable[[Tensor], Tensor]] = {
    "eye": lambda y: torch.eye(y.shape[1]) @ y,
    "eye, not square": lambda y: torch.eye(3, y.shape[1]) @ y,
    "linspace": lambda y: y * torch.linspace(-1, 2, y.shape[1])[:, None],
    "one_hot": lambda y: F.one_hot(torch.arange(y.shape[1]), y.shape[1] + 1).to(y.dtype).T @ y,
    "split": lambda y: torch.stack(y.split(y.shape[0], 0)),
    "roll": lambda y: y.roll((y.shape[1] // 2, -y.shape[0]), (1, 0)),
}


class Made(nn.Module):
    def __init__(self, of: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.of = nn.Linear(6, 4), of

    def forward(self, x: Tensor) -> Tensor:
        return self.of(self.layer(x))


@pytest.mark.parametrize("name", MADE)
def test_what_is_made_of_sizes(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Made(MADE[name]).eval()
    file = export_onnx(capture(model, torch.zeros(2, 8, 6)), tmp_path / "model.onnx")
    assert file.fixed == {}
    loaded = session(tmp_path / "model.onnx")
    for shape in ((1, 8, 6), (3, 5, 6), (2, 1, 6)):
        x = torch.randn(shape)
        (found,) = runner(loaded, (x,), {})()
        torch.testing.assert_close(torch.as_tensor(found), model(x).detach(), rtol=1e-5, atol=1e-5)

"""An ONNX file refuses the sizes that the program refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from graphprune.capture import capture
from graphprune.exporting import export_onnx
from graphprune.exporting.runtime import runner, session
from graphprune.ground.errors import ExportError


class Decides(nn.Module):
    """Another computation on more than ten steps, and on no other than an even number of them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.layer(x)
        if y.shape[1] > 10:
            y = y.neg()
        return y, y.view(y.shape[0], -1, 2, 4).sum(2)


def test_conditions_are_in_the_file(tmp_path: Path) -> None:
    program = capture(Decides().eval(), torch.zeros(2, 8, 6))
    export_onnx(program, tmp_path / "model.onnx")
    loaded = session(tmp_path / "model.onnx")
    assert [len(output) for output in runner(loaded, (torch.zeros(3, 10, 6),), {})()] == [3, 3]
    for steps in (12, 9):
        with pytest.raises(ExportError, match="out of data bounds|cannot run"):
            runner(loaded, (torch.zeros(3, steps, 6),), {})()


def test_without_conditions_nothing_is_added(tmp_path: Path) -> None:
    import onnx

    program = capture(nn.Linear(6, 4).eval(), torch.zeros(2, 6))
    export_onnx(program, tmp_path / "model.onnx")
    nodes = onnx.load(str(tmp_path / "model.onnx")).graph.node
    assert not [node for node in nodes if node.op_type in ("Gather", "Where")]

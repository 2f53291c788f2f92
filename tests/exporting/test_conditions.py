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


class Branch(nn.Module):
    """Another computation on more than a hundred steps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return y.neg() if y.shape[1] > 100 else y


class Pairs(Branch):
    """Two outputs, and an even number of steps."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.layer(x)
        return y, y.view(y.shape[0], -1, 2, 4).amax(2).abs()


@pytest.mark.parametrize(("kind", "right", "wrong"), [(Branch, (1, 100), 101), (Pairs, (2, 64), 9)])
def test_conditions_are_in_the_file(
    kind: type[nn.Module], right: tuple[int, ...], wrong: int, tmp_path: Path
) -> None:
    program = capture(kind().eval(), torch.zeros(2, 8, 6))
    export_onnx(program, tmp_path / "model.onnx")
    loaded = session(tmp_path / "model.onnx")
    for steps in right:
        assert all(len(output) == 3 for output in runner(loaded, (torch.zeros(3, steps, 6),), {})())
    with pytest.raises(ExportError, match="onnxruntime cannot run the file"):
        runner(loaded, (torch.zeros(3, wrong, 6),), {})()


def test_without_conditions_nothing_is_added(tmp_path: Path) -> None:
    import onnx

    program = capture(nn.Linear(6, 4).eval(), torch.zeros(2, 6))
    export_onnx(program, tmp_path / "model.onnx")
    nodes = onnx.load(str(tmp_path / "model.onnx")).graph.node
    assert not [node for node in nodes if node.op_type in ("Gather", "Where")]

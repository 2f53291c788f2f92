"""Where rounding grows on its way to an output, onnxruntime may differ by as much; a wrong file may not."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.cli.checks import Checks, check_files
from graphprune.results.onnx_checks import _beyond_rounding, _runs_of
from graphprune.verifying.rounding import layers_run


class Growing(nn.Module):
    """An error of rounding is doubled in every step."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 4)
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(self.a(x).relu()).sigmoid()
        for _ in range(self.steps):
            y = 3.99 * y * (1 - y)
        return y


ROWS = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))


def test_a_right_file_is_written(tmp_path: Path) -> None:
    torch.manual_seed(0)
    result = gp.shrink(Growing(18), ROWS, ratio=0.5)
    result.save(tmp_path / "slim", latency=False)
    report = json.loads((tmp_path / "slim" / "report.json").read_text())
    checks = [check for check in report["verdict"]["checks"] if check["name"].startswith("onnxruntime")]
    assert len(checks) == 3, "on its own tensors, and on random ones at two batch sizes"
    assert all(check["passed"] for check in checks)
    assert any("rounding alone moves the outputs by" in check["detail"] for check in checks)
    files = Checks()
    check_files(tmp_path / "slim", files, lambda _: None)
    read = [row for row in files.rows if row["name"].startswith("onnxruntime")]
    assert len(read) == 2
    assert all(row["passed"] for row in read)
    assert any("rounding alone moves the outputs by" in row["detail"] for row in read)


@pytest.mark.parametrize("captured", [True, False])
@pytest.mark.parametrize("steps", [0, 8])
def test_a_wrong_file_is_found(steps: int, captured: bool) -> None:
    torch.manual_seed(0)
    program = gp.trace(Growing(steps), ROWS).program
    runs = _runs_of(program, program.tensors) if captured else partial(layers_run, program.model)
    judge = _beyond_rounding(runs, 1e-3)
    with torch.no_grad():
        right = program.model(ROWS)
    wrong = right.clone()
    wrong[2, 1] += 0.05
    assert judge(((ROWS,), {}), [right.numpy()], [right.numpy()]) == (0.0, "")
    left, note = judge(((ROWS,), {}), [right.numpy()], [wrong.numpy()])
    assert left > 0.02
    assert not note

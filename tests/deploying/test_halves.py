"""Half precision: what leaves its range stays in float32, and every rounding is seen."""

from __future__ import annotations

from pathlib import Path

import numpy
import onnx
import pytest
import torch
from deploying_models import Clipped, Large, Masked, Tiny, filed
from torch import nn

from graphprune import exporting
from graphprune.deploying.halves import beyond_half, halved
from graphprune.deploying.ranges import ranges
from graphprune.deploying.rounding import rounded
from graphprune.deploying.shaping import opened, write_file

HALF = 2e-3  # of an output's norm; half precision has eleven bits


def converted(path: Path, kept: list[str]) -> tuple[Path, Path]:
    """The file in half, and with its roundings written out."""
    half, written = path.with_name("half.onnx"), path.with_name("rounded.onnx")
    made = halved(opened(path), kept)
    write_file(made, half, {}, external=False)
    write_file(rounded(made), written, {}, external=False)
    return half, written


@pytest.mark.parametrize("kind", [Clipped, Masked, Large, Tiny])
def test_outputs_are_near_and_types_outside_stay(kind: type[nn.Module], tmp_path: Path) -> None:
    path, examples = filed(kind, tmp_path)
    kept = beyond_half(opened(path).graph, ranges(path, examples.seen))
    assert bool(kept) == (kind is not Clipped)
    half, written = converted(path, kept)
    expected = examples.run(path)
    for file in (half, written):
        assert 0 < examples.fidelity(expected, examples.run(file)).error < HALF
    onnx.checker.check_model(str(half), full_check=True)
    before, after = (exporting.session(file) for file in (path, half))
    for get in ("get_inputs", "get_outputs"):
        pairs = zip(getattr(before, get)(), getattr(after, get)(), strict=True)
        assert all(
            (one.name, one.type, one.shape) == (other.name, other.type, other.shape) for one, other in pairs
        )
    held = {tensor.data_type for tensor in onnx.load(half).graph.initializer if len(tensor.dims) > 1}
    assert onnx.TensorProto.FLOAT16 in held


@pytest.mark.parametrize("kind", [Large, Tiny])
def test_without_the_rule_such_numbers_are_lost(kind: type[nn.Module], tmp_path: Path) -> None:
    path, examples = filed(kind, tmp_path)
    _, written = converted(path, [])
    found = examples.fidelity(examples.run(path), examples.run(written))
    assert found.is_poor
    assert not found.error < 0.9


def test_roundings_are_those_of_half_precision(tmp_path: Path) -> None:
    """Sums in float32, and every value of the graph in half: computed here by hand."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x @ self.weight).tanh() * 3

    import graphprune as gp

    torch.manual_seed(0)
    model, x = Two().eval(), torch.randn(4, 8)
    path = tmp_path / "two.onnx"
    exporting.export_onnx(gp.trace(model, x).program, path)
    _, written = converted(path, [])
    session = exporting.session(path), exporting.session(written)
    own, found = (exporting.runner(one, (x,), {})()[0] for one in session)

    def half(array: numpy.ndarray) -> numpy.ndarray:
        return array.astype("float16").astype("float32")

    inner = half(half(x.numpy()) @ half(model.weight.detach().numpy()))
    by_hand = half(half(numpy.tanh(inner)) * 3)
    assert numpy.abs(found - by_hand).max() < numpy.abs(own - by_hand).max() / 3


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(8, 16, batch_first=True), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(x)[0])


def test_a_crash_of_the_runtime_ends_no_process_of_ours(tmp_path: Path) -> None:
    """onnxruntime 1.31 crashes on such a file; where another version does not, the file must be right."""
    import graphprune as gp

    torch.manual_seed(0)
    x, path = torch.randn(2, 5, 8), tmp_path / "gru.onnx"
    exporting.export_onnx(gp.trace(Recurrent().eval(), x).program, path)
    out = tmp_path / "out"
    try:
        report, said = gp.export(path, out, latency=False, fp16=True, calibration=[x, x]), ""
    except gp.ExportError as error:
        report, said = {}, error.message
    assert out.exists() == bool(report)
    if report:
        assert report["files"]["model_fp16.onnx"]["fidelity"]["error"] < HALF
    else:
        assert "crashes where it loads model_fp16.onnx" in said

"""Models as bytes: files are what onnx would write, and a session reads tensors where they are."""

from __future__ import annotations

from pathlib import Path

import numpy
import onnx
import pytest
import torch
from torch import nn

from graphprune.capture import capture
from graphprune.exporting import OnnxProgram, Serialised, arrays_of, make_feed, runner, serialised, session

from .zoo import CASES


def made(name: str) -> Serialised:
    case = CASES[name]
    return OnnxProgram.of(capture(case.build(), (case.args, case.kwargs))).finished()


@pytest.mark.parametrize("large", [1, 64, 1 << 40], ids=["all outside", "some", "none"])
@pytest.mark.parametrize("name", ["conv", "attention", "double", "nested"])
def test_a_file_holds_what_onnx_itself_would_write(
    name: str, large: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serialised, "LARGE", large)
    model = made(name)
    assert bool(model.outside) == (large < 1 << 40)
    model.write(tmp_path / "model.onnx")
    whole = onnx.load(tmp_path / "model.onnx")
    assert (
        whole.SerializeToString() == torch.onnx.ONNXProgram(model.model, None).model_proto.SerializeToString()
    )
    assert model.size == (tmp_path / "model.onnx").stat().st_size == len(whole.SerializeToString())


@pytest.mark.parametrize("large", [100, 1 << 40], ids=["outside", "within"])
@pytest.mark.parametrize("name", ["conv", "attention", "double", "nested"])
def test_a_session_in_memory_gives_what_the_file_gives(
    name: str, large: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serialised, "LARGE", large)
    case, model = CASES[name], made(name)
    model.write(tmp_path / "model.onnx")
    loaded, read = session(model), session(tmp_path / "model.onnx")
    feed = make_feed(loaded, case.args, case.kwargs)
    for one, other in zip(loaded.run(None, feed), read.run(None, feed), strict=True):
        assert numpy.array_equal(one, other, equal_nan=True)
    stored, written = dict(arrays_of(model)), dict(arrays_of(tmp_path / "model.onnx"))
    assert list(stored) == list(written)
    assert all(numpy.array_equal(array, written[key]) for key, array in stored.items())


def test_tensors_live_as_long_as_the_session() -> None:
    """Nothing else holds them: the session must not read memory that has been given to others."""
    layer = nn.Linear(600, 600)
    x = torch.randn(2, 600)
    with torch.no_grad():
        expected = layer(x)
    run = runner(session(OnnxProgram.of(capture(layer.eval(), x)).finished()), (x,), {})
    del layer
    others = [torch.full((600, 600), float(number)) for number in range(50)]
    assert torch.allclose(torch.as_tensor(run()[0]), expected, atol=1e-5)
    del others


def test_weights_of_half_the_width_stay_within() -> None:
    """numpy has no bfloat16 of its own."""
    layer = nn.Linear(64, 64).to(torch.bfloat16).eval()
    model = OnnxProgram.of(capture(layer, torch.randn(2, 64, dtype=torch.bfloat16))).finished()
    assert not model.outside
    assert {array.size for _, array in arrays_of(model)} >= {64 * 64, 64}

"""8 bits: which nodes stay in float, and that the two ways to mix them compute what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from deploying_models import Clipped, Masked, filed
from torch import Tensor, nn

from graphprune import exporting
from graphprune.deploying import Examples
from graphprune.deploying.eight_bits import _Switched, _whole, quantise
from graphprune.deploying.mixing import exact_nodes, mixed, quantised_nodes
from graphprune.deploying.shaping import write_file
from graphprune.ground.errors import ExportError

KINDS = [Clipped, Masked]


def whole_of(path: Path, examples: Examples) -> tuple[Any, Any, list[str]]:
    whole, own = _whole(path, path.parent, examples.seen, False), onnx.load(path)
    exact = exact_nodes(own)
    return whole, own, [node.name for node in quantised_nodes(whole.graph) if node.name not in exact]


def error_of(model: Any, path: Path, examples: Examples) -> float:
    """In floats between QuantizeLinear and DequantizeLinear, as the file says."""
    write_file(model, path, {}, external=False)
    session = exporting.session(path, as_written=True)
    found = [exporting.feeder(session, exporting.fed(session, feed))() for feed in examples.held]
    return examples.fidelity(examples.run(path.with_name("float.onnx")), found).error


@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_to_mix_agree(kind: type[nn.Module], tmp_path: Path) -> None:
    """A file in which nodes read floats again is off as far as the one in which they are switched off."""
    path, examples = filed(kind, tmp_path)
    whole, own, names = whole_of(path, examples)
    few = examples.few(8)
    switched = _Switched.of(own, whole, tmp_path, few)
    assert set(names) <= set(switched.switches) | exact_nodes(own)
    assert switched.error([]) == 0
    for count in range(len(names)):
        left, others = names[:count], names[count:]
        error = switched.error(others)
        found = error_of(mixed(whole, own, {*left, *exact_nodes(own)}), tmp_path / "mixed.onnx", few)
        assert found == pytest.approx(error, rel=0.5, abs=0.01)
    last = error_of(mixed(whole, own, names), tmp_path / "mixed.onnx", few)
    assert last < 0.01  # the output itself is rounded to 8 bits


def test_what_stays_in_float_follows_from_the_error(tmp_path: Path) -> None:
    path, examples = filed(Masked, tmp_path)
    expected = examples.run(path)
    loose, strict = (quantise(path, examples, expected, False, most) for most in (1e6, 0.05))
    assert loose.left == ()
    assert loose.off > 0.1  # the mask takes all 256 steps of its range for itself
    assert 0 < len(strict.left) < strict.nodes / 2
    assert strict.off < 0.05
    assert any("Softmax" in name or "Where" in name for name in strict.left)


@pytest.mark.parametrize("symmetric", [False, True])
def test_weights_by_channel_and_zero_points(symmetric: bool, tmp_path: Path) -> None:
    path, examples = filed(Clipped, tmp_path)
    made = quantise(path, examples, examples.run(path), symmetric, 0.1)
    assert made.off < 0.1
    write_file(made.model, tmp_path / "int8.onnx", {}, external=False)
    graph = onnx.load(tmp_path / "int8.onnx").graph
    tensors = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    to_bits = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    points = [tensors[node.input[2]] for node in to_bits]
    assert points
    assert {str(point.dtype) for point in points} == {"int8" if symmetric else "uint8"}
    if symmetric:
        assert not any(point.any() for point in points)
    scales = [tensors[node.input[1]] for node in graph.node if node.op_type == "DequantizeLinear"]
    assert any(scale.size == 16 for scale in scales)


def test_a_file_with_nothing_to_quantise_is_refused(tmp_path: Path) -> None:
    class Tanh(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.tanh()

    path, examples = filed(Tanh, tmp_path)
    with pytest.raises(ExportError, match="no operator of the file can be quantised"):
        quantise(path, examples, examples.run(path), False, 0.1)


def test_places_that_are_looked_up_come_from_floats_that_stay(tmp_path: Path) -> None:
    class Places(nn.Module):
        """A table of biases, whose rows follow from logarithms of distances."""

        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.table = nn.Linear(8, 16), nn.Linear(16, 8), nn.Embedding(9, 8)

        def forward(self, x: Tensor) -> Tensor:
            rows = ((x.shape[0] * torch.arange(1, 6) + x.shape[0]).float().log() * 3).clamp(0, 8).long()
            return self.two(self.one(x).relu()) + self.table(rows).sum(0)

    path, examples = filed(Places, tmp_path)
    made = quantise(path, examples, examples.run(path), False, 0.1)
    assert made.off < 0.05
    own = onnx.load(path)
    chain = {node.name for node in own.graph.node if node.op_type in ("Log", "Clip")}
    assert chain <= exact_nodes(own)

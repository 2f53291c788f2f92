"""onnxruntime: disagreement is seen, and files are run as they are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch
from torch import nn

from graphprune.capture import capture
from graphprune.exporting import export_onnx, latency, make_feed, parity, session, watched
from graphprune.exporting.parity import largest_error
from graphprune.exporting.runtime import match_inputs, to_numpy
from graphprune.ground.errors import ExportError


class Inputs(nn.Module):
    """A list, a table of indices that must stay in range, a keyword, and an input that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, 4)

    def forward(self, ids, pair, scale=None, unused=None):
        return {"sum": self.embed(ids) * pair[0] + pair[1], "scaled": self.embed(ids) * scale}


ARGS = (torch.tensor([[0, 2], [1, 2]]), [torch.ones(2, 2, 4), torch.zeros(2, 2, 4)])
KWARGS = {"unused": torch.ones(2, 1), "scale": torch.ones(2, 1, 1)}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    model = Inputs().eval()
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    assert export_onnx(capture(model, (ARGS, KWARGS)), path).path == path
    return model, path


def test_parity_feeds_nested_and_keyword_inputs(exported: tuple[nn.Module, Path]) -> None:
    model, path = exported
    results = parity(path, model, (ARGS, KWARGS))
    assert [str(result) for result in results] == ["batch 1", "batch 3"]
    assert all(result.max_abs < 1e-6 for result in results)


def test_parity_depends_on_the_seed_alone(exported: tuple[nn.Module, Path]) -> None:
    model, path = exported
    with torch.no_grad():
        model.embed.weight.add_(0.25)
    try:
        first, again = (parity(path, model, (ARGS, KWARGS), seed=5) for _ in range(2))
        assert first == again
        assert parity(path, model, (ARGS, KWARGS), seed=6) != first
        # 0.25 · a standard normal number, and 0.25 · scale
        assert all(result.max_abs > 0.01 for result in first)
        assert all(result.max_rel > 0.01 for result in first)
    finally:
        with torch.no_grad():
            model.embed.weight.sub_(0.25)


class Third(nn.Module):
    def forward(self, ids, pair, scale=None, unused=None):
        return pair[0], pair[1], scale


class Narrow(nn.Module):
    def forward(self, ids, pair, scale=None, unused=None):
        return pair[0], pair[1][:, :1]


def test_other_outputs_are_refused(exported: tuple[nn.Module, Path]) -> None:
    with pytest.raises(ExportError, match="the file has 2 outputs, the model 3"):
        parity(exported[1], Third(), (ARGS, KWARGS))
    with pytest.raises(ExportError, match=r"has shape \[1, 2, 4\] in onnxruntime, \[1, 1, 4\] in PyTorch"):
        parity(exported[1], Narrow(), (ARGS, KWARGS))


def test_error_is_relative_to_the_largest_value_and_never_hides_nan() -> None:
    reference = numpy.array([0.0, -4.0])
    assert largest_error(reference, numpy.array([0.1, -4.0]), "y") == (0.1, 0.025)
    assert largest_error(reference, numpy.array([float("nan"), -4.0]), "y") == (float("inf"), float("inf"))
    assert largest_error(numpy.array([float("-inf"), 2.0]), numpy.array([float("-inf"), 2.0]), "y") == (
        0.0,
        0.0,
    )
    assert largest_error(numpy.array([True]), numpy.array([False]), "y") == (1.0, 1.0)
    assert largest_error(numpy.zeros(2), numpy.ones(2), "y") == (1.0, float("inf"))


def test_inputs_are_matched_by_name_and_order() -> None:
    tensors = {name: torch.full((1,), float(i)) for i, name in enumerate(["a", "b", "c", "d"])}
    names = ["x", "pair_0", "pair_1", "mask"]
    kwargs = {"mask": tensors["d"], "flag": True, "pair": (tensors["b"], tensors["c"])}
    matched = match_inputs(names, (tensors["a"], 3), kwargs)
    assert matched == {
        "x": tensors["a"],
        "mask": tensors["d"],
        "pair_0": tensors["b"],
        "pair_1": tensors["c"],
    }
    with pytest.raises(
        ExportError, match=r"4 inputs \(x, pair_0, pair_1, mask\), but the arguments hold 1 tensors"
    ):
        match_inputs(names, (tensors["a"],), {})
    with pytest.raises(ExportError, match="0 inputs"):
        match_inputs([], (tensors["a"],), {})


def test_dtypes_without_numpy_are_refused() -> None:
    with pytest.raises(ExportError, match=r"cannot be fed torch\.bfloat16"):
        to_numpy(torch.zeros(1, dtype=torch.bfloat16))


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    for name in ("model.onnx", "missing.onnx"):
        with pytest.raises(ExportError, match=f"onnxruntime cannot load .*{name}") as caught:
            session(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_session_uses_the_threads_asked_for(exported: tuple[nn.Module, Path]) -> None:
    options = session(exported[1], threads=2).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)


def test_a_watched_run_is_made_once_at_least(exported: tuple[nn.Module, Path]) -> None:
    """However long it takes; the profile ends with that, and the session goes on."""
    run, nodes = watched(exported[1], lambda loaded: make_feed(loaded, ARGS, KWARGS), 5, seconds=0)
    assert {len(node.milliseconds) for node in nodes} == {1}
    assert len(run()) == 2
    _, nodes = watched(exported[1], lambda loaded: make_feed(loaded, ARGS, KWARGS), 3)
    assert {len(node.milliseconds) for node in nodes} == {3}


def test_a_failing_run_names_the_cause(exported: tuple[nn.Module, Path]) -> None:
    with pytest.raises(
        ExportError, match=r"onnxruntime cannot run the file: .*expected: \(tensor\(int64\)\)"
    ):
        latency(exported[1], exported[1], ((ARGS[0].float(), ARGS[1]), KWARGS), seconds=0.1)

"""onnxruntime: disagreement is seen, and timing alternates."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from graphprune.capture import capture
from graphprune.exporting import export_onnx, latency, parity, runtime, session
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


class FakeSession:
    """Notes its runs on a shared list; a run takes as long on the fake clock as its name says."""

    def __init__(self, path: Path, log: list[str], clock: list[float]) -> None:
        self.name, self.log, self.clock = path.stem, log, clock

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="x", type="tensor(float)")]

    def run(self, _: None, feed: dict[str, Any]) -> list[Any]:
        assert list(feed) == ["x"]
        self.log.append(self.name)
        self.clock[0] += {"original": 0.2, "slim": 0.1}[self.name]
        return []


@pytest.mark.parametrize(("seconds", "pairs"), [(1.0, 2), (0.0, 5), (6.0, 1)])
def test_latency_alternates_strictly(seconds: float, pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    clock = [0.0]
    monkeypatch.setattr(runtime, "session", lambda path, threads: FakeSession(path, log, clock))
    monkeypatch.setattr(runtime, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    args = (torch.ones(1),)
    result = latency(Path("original.onnx"), Path("slim.onnx"), (args, {}), seconds, threads=2, pairs=pairs)
    assert log == ["original", "slim"] * (len(log) // 2)
    assert result.runs == max(pairs, round(seconds / 0.3 + 0.49))
    assert (round(result.original_ms, 6), round(result.slim_ms, 6), round(result.ratio, 6)) == (200, 100, 0.5)
    assert len(log) // 2 > result.runs, "warm-up runs do not count"


@pytest.mark.parametrize(("threads", "tick", "expected"), [(1, 1e-6, 0.5), (1, 0.01, 2.0), (2, 1e-6, 2.0)])
def test_one_thread_is_timed_by_its_own_clock(
    threads: int, tick: float, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process takes the processor whenever the slim model runs; a clock that ticks coarsely is left alone."""
    own, wall = [0.0], [0.0]

    def loaded(path: Path, threads: int) -> Any:
        fake = FakeSession(path, [], own)
        run = fake.run

        def disturbed(names: None, feed: dict[str, Any]) -> list[Any]:
            wall[0] += {"original": 0.2, "slim": 0.4}[path.stem]
            return run(names, feed)

        fake.run = disturbed  # type: ignore[method-assign]
        return fake

    clocks = SimpleNamespace(thread_time=lambda: own[0], perf_counter=lambda: wall[0])
    monkeypatch.setattr(runtime, "session", loaded)
    monkeypatch.setattr(runtime, "time", clocks)
    monkeypatch.setattr(runtime, "tick", lambda: tick)
    result = latency(
        Path("original.onnx"), Path("slim.onnx"), ((torch.ones(1),), {}), 2.0, threads=threads, pairs=3
    )
    assert round(result.ratio, 6) == expected


def test_a_clock_that_stands_still_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some readings of the processor's clock shows the time of the one before, as virtual machines do at times."""
    own, wall, readings = [0.0], [0.0], [0]
    shown = [0.0]

    def loaded(path: Path, threads: int) -> Any:
        fake = FakeSession(path, [], own)
        run = fake.run

        def counted(names: None, feed: dict[str, Any]) -> list[Any]:
            wall[0] += 0.3
            return run(names, feed)

        fake.run = counted  # type: ignore[method-assign]
        return fake

    def thread_time() -> float:
        readings[0] += 1
        if readings[0] % 6:
            shown[0] = own[0]
        return shown[0]

    monkeypatch.setattr(runtime, "session", loaded)
    monkeypatch.setattr(
        runtime, "time", SimpleNamespace(thread_time=thread_time, perf_counter=lambda: wall[0])
    )
    monkeypatch.setattr(runtime, "tick", lambda: 1e-6)
    result = latency(Path("original.onnx"), Path("slim.onnx"), ((torch.ones(1),), {}), 6.0, pairs=3)
    assert result.runs >= 3
    assert round(result.ratio, 6) == 0.5


def test_waiting_is_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread that sleeps has done nothing, if the clock of threads is asked."""
    monkeypatch.setattr(runtime, "tick", lambda: 1e-6)
    (spent,) = runtime.fastest([lambda: time.sleep(0.05)], 1)
    assert spent < 0.025


def test_latency_of_real_files(exported: tuple[nn.Module, Path]) -> None:
    result = latency(exported[1], exported[1], (ARGS, KWARGS), seconds=0.2, pairs=20)
    assert result.runs >= 20
    assert result.original_ms > 0
    # The same file twice: far from a factor of two even on a busy machine, since pairs are medianed.
    assert 0.5 < result.ratio < 2


def test_a_failing_run_names_the_cause(exported: tuple[nn.Module, Path]) -> None:
    with pytest.raises(
        ExportError, match=r"onnxruntime cannot run the file: .*expected: \(tensor\(int64\)\)"
    ):
        latency(exported[1], exported[1], ((ARGS[0].float(), ARGS[1]), KWARGS), seconds=0.1)

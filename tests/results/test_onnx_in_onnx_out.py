"""An ONNX file in, a smaller one out: names, metadata and sizes as they were, proved, and made again from its plan."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import graphprune as gp
from tests.importing.building import graph_of, node
from tests.importing.test_tracing import network, normal

SHAPE = {"image": (1, 3, 16, 16)}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = network(tmp_path_factory.mktemp("original"))
    model = onnx.load(path)
    model.metadata_props.add(key="licence", value="MIT")
    model.graph.doc_string = "as its author described it"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def slim(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("slim") / "slim"
    gp.shrink(original, SHAPE, macs=0.5).save(place, latency=False)
    return place


def test_the_smaller_file_has_the_same_names_sizes_and_notes(original: Path, slim: Path) -> None:
    old, new = onnx.load(original), onnx.load(slim / "model.onnx")
    onnx.checker.check_model(new, full_check=True)
    for part in ("input", "output", "name", "doc_string"):
        assert getattr(new.graph, part) == getattr(old.graph, part)
    for part in ("metadata_props", "opset_import", "ir_version", "producer_name"):
        assert getattr(new, part) == getattr(old, part)
    assert new.graph.node == old.graph.node  # no node of this model says a width
    assert (slim / "model.onnx").stat().st_size < 0.8 * original.stat().st_size


def test_tensors_are_the_originals_at_the_planned_places(original: Path, slim: Path) -> None:
    """By the names of the file, from plan.json alone."""
    plan = json.loads((slim / "plan.json").read_text())["tensors"]
    old, new = (
        {item.name: onnx.numpy_helper.to_array(item) for item in onnx.load(path).graph.initializer}
        for path in (original, slim / "model.onnx")
    )
    assert {"w1", "w2", "s"} <= set(plan)
    for name, array in old.items():
        for dim, kept in plan.get(name, {}).items():
            assert kept == sorted(kept)
            array = array.take(kept, int(dim))
        assert np.array_equal(array, new[name])


def test_the_smaller_file_runs_at_other_sizes(slim: Path) -> None:
    session = onnxruntime.InferenceSession(slim / "model.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 16, 16), (2, 3, 24, 20)):
        (scores,) = session.run(None, {"image": normal(*shape)})
        assert scores.shape == (shape[0], 4)
        assert np.isfinite(scores).all()


def test_the_report_says_how_it_was_proved(slim: Path) -> None:
    report = json.loads((slim / "report.json").read_text())
    names = [check["name"] for check in report["verdict"]["checks"] if "onnxruntime" in check["name"]]
    assert len(names) == 3
    assert any("random weights" in name for name in names)
    assert report["after"]["onnx_bytes"] == (slim / "model.onnx").stat().st_size
    assert "missing" not in report


def test_the_plan_is_carried_out_again(original: Path, slim: Path, tmp_path: Path) -> None:
    plan = gp.Plan.from_json((slim / "plan.json").read_text())
    gp.shrink(original, SHAPE, plan=plan).save(tmp_path / "again", latency=False)
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (slim / "model.onnx").read_bytes()


def test_a_plan_of_another_file_is_refused(original: Path, slim: Path, tmp_path: Path) -> None:
    plan = gp.Plan.from_json((slim / "plan.json").read_text())
    plan.kept["w1"][0][0] += 1
    with pytest.raises(gp.PlanError, match="kept indices of w1 do not follow"):
        gp.shrink(original, SHAPE, plan=plan)


def test_a_repair_is_written_into_the_file(original: Path, tmp_path: Path) -> None:
    """And compared with the repaired model in PyTorch."""
    data = {"image": normal(32, 3, 16, 16)}
    result = gp.shrink(original, SHAPE, macs=0.5, calibration=list_of(data), repair=True)
    report = result.save(tmp_path / "slim", latency=False)
    assert report["repair"]["tensors"]
    assert any(
        check["name"].startswith("onnxruntime equals the model") for check in report["verdict"]["checks"]
    )
    session = onnxruntime.InferenceSession(
        tmp_path / "slim" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    (scores,) = session.run(None, data)
    expected = result.model(torch.from_numpy(data["image"]))["scores"].detach().numpy()
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def list_of(data: dict[str, Any]) -> list[Any]:
    return [(torch.from_numpy(array),) for array in data.values()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lossless": True}, "biases that an ONNX file has no place for"),
        ({"macs": 0.5, "graft": True}, "no class of Python"),
        ({"macs": 0.5, "export_dtype": "float16"}, "keeps the types that it has"),
    ],
)
def test_what_a_file_cannot_be_is_refused(original: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(gp.InputError, match=message):
        gp.shrink(original, SHAPE, **options)


def test_a_file_that_is_cut_wrongly_is_not_written(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphprune.results import cut_file

    right = cut_file.sliced

    def wrong(*given: Any) -> Any:
        model = right(*given)
        bias = next(item for item in model.graph.initializer if item.name == "b")
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 1, "b"))
        return model

    monkeypatch.setattr(cut_file, "sliced", wrong)
    with pytest.raises(gp.VerificationError, match="the ONNX file is not what was asked for"):
        gp.shrink(original, SHAPE, macs=0.5).save(tmp_path / "slim", latency=False)
    assert not (tmp_path / "slim").exists()


def test_old_files_that_list_constants_as_inputs(tmp_path: Path) -> None:
    """Their sizes are said there a second time."""
    model = onnx.load(network(tmp_path))
    model.ir_version = 3
    types = {np.dtype("float32"): 1, np.dtype("int64"): 7}
    for item in model.graph.initializer:
        array = onnx.numpy_helper.to_array(item)
        model.graph.input.append(
            onnx.helper.make_tensor_value_info(item.name, types[array.dtype], array.shape)
        )
    onnx.save(model, tmp_path / "old.onnx")
    gp.shrink(tmp_path / "old.onnx", SHAPE, macs=0.5).save(tmp_path / "slim", latency=False)
    onnx.checker.check_model(onnx.load(tmp_path / "slim" / "model.onnx"), full_check=True)


@pytest.mark.parametrize(("operator", "width"), [("Sigmoid", 4), ("Softmax", 8)])
def test_what_a_branch_reads_that_is_not_run_keeps_its_size(
    tmp_path: Path, operator: str, width: int
) -> None:
    """Unless it does the same to each unit: nothing says how it would run otherwise."""

    def branch(name: str, operator: str) -> onnx.GraphProto:
        output = onnx.helper.make_tensor_value_info(name, 1, None)
        return onnx.helper.make_graph([node(operator, ["a"], [name])], name, [], [output])

    branches = {"then_branch": branch("t", operator), "else_branch": branch("e", "Relu")}
    nodes = [
        node("Conv", ["x", "w1"], ["a"], name="first"),
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "two"], ["rows"]),
        node("Greater", ["rows", "limit"], ["large"]),
        node("If", ["large"], ["b"], name="chosen", **branches),
        node("Conv", ["b", "w2"], ["c"], name="second"),
        node("Conv", ["c", "w3"], ["y"], name="third"),
    ]
    constants = {"w1": normal(8, 3, 1, 1), "w2": normal(8, 8, 1, 1), "w3": normal(2, 8, 1, 1)}
    constants |= {"two": np.array(2), "limit": np.array(100)}
    path = tmp_path / "if.onnx"
    onnx.save(graph_of(nodes, {"x": ["n", 3, "h", "w"]}, ["y"], constants), path)
    gp.shrink(path, {"x": (1, 3, 8, 8)}, ratio=0.5, align=1).save(tmp_path / "slim", latency=False)
    slim = onnx.load(tmp_path / "slim" / "model.onnx")
    shapes = {item.name: tuple(item.dims) for item in slim.graph.initializer}
    assert shapes["w1"][0] == width
    assert shapes["w2"] == (4, width, 1, 1)


def test_what_cannot_be_run_is_left_and_the_rest_is_cut(tmp_path: Path) -> None:
    """How many boxes there are the data say; what they are made of keeps its size."""
    nodes = [
        node("Conv", ["x", "w1"], ["a"], name="first"),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "w2"], ["c"], name="second"),
        node("Reshape", ["c", "rows"], ["boxes"]),
        node("ReduceMax", ["boxes"], ["best"], axes=[2], keepdims=0),
        node("Unsqueeze", ["best", "one"], ["scores"]),
        node("NonMaxSuppression", ["boxes", "scores", "most", "overlap"], ["chosen"], name="suppression"),
        node("Cast", ["chosen"], ["y"], to=1),
    ]
    constants = {"w1": normal(8, 3, 1, 1), "w2": normal(4, 8, 1, 1), "rows": np.array([0, -1, 4])}
    constants |= {"one": np.array([1]), "most": np.array([5]), "overlap": np.array([0.5], dtype=np.float32)}
    path = tmp_path / "detector.onnx"
    onnx.save(graph_of(nodes, {"x": [1, 3, 6, 6]}, ["y", "boxes"], constants), path)
    result = gp.shrink(path, ratio=0.5, align=1)
    assert any("suppression" in note for note in result.graph.program.notes)
    report = result.save(tmp_path / "slim", latency=False)
    slim = onnx.load(tmp_path / "slim" / "model.onnx")
    assert {item.name: tuple(item.dims) for item in slim.graph.initializer}["w1"] == (4, 3, 1, 1)
    assert [item.name for item in slim.graph.output] == ["y", "boxes"]
    assert report["verdict"]["passed"]


def test_an_operator_that_pytorch_has_not_pins_what_it_reads(tmp_path: Path) -> None:
    """onnxruntime computes it; layers on both sides are cut."""
    fused = node("TransposeMatMul", ["c", "w3"], ["d"], name="fused", domain="com.microsoft", alpha=0.5)
    nodes = [
        node("MatMul", ["x", "w1"], ["a"], name="first"),
        node("Relu", ["a"], ["b"]),
        node("MatMul", ["b", "w2"], ["c"], name="second"),
        fused,
        node("MatMul", ["d", "w4"], ["e"], name="third"),
        node("Relu", ["e"], ["f"]),
        node("MatMul", ["f", "w5"], ["y"], name="last"),
    ]
    widths = (4, 8, 6, 5, 8, 3)
    weights = {f"w{place}": normal(*shape) for place, shape in enumerate(itertools.pairwise(widths), 1)}
    graph = onnx.helper.make_graph(
        nodes,
        "fused",
        [onnx.helper.make_tensor_value_info("x", 1, ["n", 4])],
        [onnx.helper.make_tensor_value_info("y", 1, ["n", 3])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    imports = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    path = tmp_path / "fused.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    result = gp.shrink(path, ratio=0.5, align=1)
    result.save(tmp_path / "slim", latency=False)
    slim = onnx.load(tmp_path / "slim" / "model.onnx")
    shapes = {item.name: tuple(item.dims) for item in slim.graph.initializer}
    assert shapes == {"w1": (4, 4), "w2": (4, 6), "w3": (6, 5), "w4": (5, 4), "w5": (4, 3)}
    assert result.graph.explanation("third")["text"]


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_halves_stay_halves(tmp_path: Path, name: str) -> None:
    """PyTorch computes them in float32; the file's numbers keep their type."""
    import ml_dtypes

    dtype = np.dtype(np.float16) if name == "float16" else np.dtype(ml_dtypes.bfloat16)
    nodes = [
        node("Conv", ["x", "w1"], ["a"], name="first"),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "w2"], ["y"], name="second"),
    ]
    constants = {"w1": normal(8, 3, 3, 3).astype(dtype), "w2": normal(4, 8, 1, 1).astype(dtype)}
    types = {"x": onnx.helper.np_dtype_to_tensor_dtype(dtype)}
    path = tmp_path / "half.onnx"
    onnx.save(graph_of(nodes, {"x": [1, 3, 6, 6]}, ["y"], constants, types=types), path)
    if name == "bfloat16":  # onnxruntime has no convolution of these on a CPU
        with pytest.raises(gp.CaptureError, match="onnxruntime"):
            gp.shrink(path, ratio=0.5)
        return
    gp.shrink(path, ratio=0.5, align=1).save(tmp_path / "slim", latency=True)
    slim = onnx.load(tmp_path / "slim" / "model.onnx")
    assert [onnx.numpy_helper.to_array(item).dtype for item in slim.graph.initializer] == [dtype, dtype]


def test_weights_that_are_too_many_for_one_file_lie_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of two gigabytes; here of a few thousand bytes."""
    from graphprune.importing import writing

    weights = {"w1": normal(40, 60), "w2": normal(60, 5)}
    nodes = [
        node("MatMul", ["x", "w1"], ["a"], name="first"),
        node("Relu", ["a"], ["b"]),
        node("MatMul", ["b", "w2"], ["y"], name="last"),
    ]
    model = graph_of(nodes, {"x": ["n", 40]}, ["y"], weights)
    path = tmp_path / "large.onnx"
    onnx.save(model, path, save_as_external_data=True, location="large.data", size_threshold=0)
    monkeypatch.setattr(writing, "MOST", 4_000)
    result = gp.shrink(path, ratio=0.5, align=1)
    result.save(tmp_path / "slim", latency=False)
    assert (tmp_path / "slim" / "model.onnx").stat().st_size < 2_000
    slim = onnx.load(tmp_path / "slim" / "model.onnx")  # with what lies beside it
    kept = result.plan.kept["first.weight"][1]
    array = onnx.numpy_helper.to_array(slim.graph.initializer[0])
    assert np.array_equal(array, weights["w1"][:, kept.numpy()])

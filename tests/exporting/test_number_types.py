"""Models in other floating types than float32: what can be written is, and the ONNX file may have another type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.exporting import make_feed, session
from graphprune.exporting.number_types import finite, in_dtype
from graphprune.results import onnx_checks

TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
FILES = {"model.safetensors", "model.py", "plan.json", "report.json", "report.html", "shrink.toml"}


class Net(nn.Module):
    """A number that only float64 and bfloat16 hold masks a softmax that is computed in a type of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.mix = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x)).relu()
        scores = self.mix(y).masked_fill(x[:, :1] > 1.5, torch.finfo(x.dtype).min)
        weights = scores.softmax(1).to(x.dtype)
        return self.head((weights * y).mean((2, 3)))


def net(dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Net().eval().to(dtype), torch.randn(2, 3, 8, 8).to(dtype)


def shrunk(dtype: torch.dtype, **options: Any) -> gp.Result:
    return gp.shrink(*net(dtype), ratio=0.5, align=1, **options)


@pytest.fixture(scope="module")
def results() -> dict[str, gp.Result]:
    return {name: shrunk(dtype) for name, dtype in TYPES.items()}


def types_in(path: Path) -> set[str]:
    graph = onnx.load(path).graph
    kinds = {item.data_type for item in graph.initializer}
    kinds |= {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    return {onnx.TensorProto.DataType.Name(kind) for kind in kinds} - {"INT64", "BOOL"}


@pytest.mark.parametrize("name", ["bfloat16", "float64"])
def test_all_but_the_onnx_file_is_written_and_the_rest_is_said(
    results: dict[str, gp.Result], name: str, tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match=r"no model\.onnx was written: onnxruntime cannot load") as caught:
        report = results[name].save(tmp_path / "slim")
    assert len(caught) == 1
    assert Path(caught[0].filename).name == Path(__file__).name
    assert {path.name for path in (tmp_path / "slim").iterdir()} == FILES
    (missing,) = json.loads((tmp_path / "slim" / "report.json").read_text())["missing"]
    assert missing["what"] == "no model.onnx was written"
    assert "--export-dtype float32" in missing["remedy"]
    assert 'export_dtype="float32"' in missing["remedy"]
    assert str(tmp_path) not in json.dumps(report)
    assert "no model.onnx was written" in " ".join(report["notes"])
    assert "onnx_bytes" not in report["after"]
    assert report["verdict"]["passed"]
    model, (_, x) = gp.load(tmp_path / "slim"), net(TYPES[name])
    with torch.no_grad():
        assert torch.equal(model(x), results[name].model(x))


@pytest.mark.parametrize("name", TYPES)
def test_the_file_has_the_type_that_was_asked_for(
    results: dict[str, gp.Result], name: str, tmp_path: Path
) -> None:
    report = results[name].save(tmp_path / "slim", latency=False, export_dtype="float32")
    assert report["export_dtype"] == "float32"
    assert types_in(tmp_path / "slim" / "model.onnx") == {"FLOAT"}
    checks = [check for check in report["verdict"]["checks"] if check["name"].startswith("onnxruntime")]
    assert len(checks) >= 4
    assert all(check["figure"] < 1e-5 for check in checks), "float32 against float64"
    assert all(check["detail"] == f"the file in float32, the model's {name} in float64" for check in checks)
    # and beside the model itself, in its own type
    _, x = net(TYPES[name])
    loaded = session(tmp_path / "slim" / "model.onnx")
    (found,) = loaded.run(None, make_feed(loaded, (x.float(),), {}))
    with torch.no_grad():
        expected = results[name].model(x).float()
    error = (torch.from_numpy(found) - expected).abs().max() / expected.abs().max()
    assert error < {"bfloat16": 3e-2, "float16": 3e-3, "float64": 1e-5}[name]


def test_float16_is_written_as_it_is(results: dict[str, gp.Result], tmp_path: Path) -> None:
    report = results["float16"].save(tmp_path / "slim", latency=False)
    assert types_in(tmp_path / "slim" / "model.onnx") == {"FLOAT16"}
    assert "missing" not in report


def test_a_model_in_float32_as_float16(tmp_path: Path) -> None:
    result = shrunk(torch.float32, export_dtype="float16")
    assert result.plan.request["export_dtype"] == "float16"
    report = result.save(tmp_path / "slim", latency=False)
    assert types_in(tmp_path / "slim" / "model.onnx") == {"FLOAT16"}
    checks = [check for check in report["verdict"]["checks"] if check["name"].startswith("onnxruntime")]
    assert all(1e-6 < check["figure"] < 1e-2 == check["limit"] for check in checks)
    assert next(result.model.parameters()).dtype == torch.float32
    assert gp.load(tmp_path / "slim")(torch.randn(1, 3, 8, 8)).dtype == torch.float32
    again = gp.shrink(
        *net(torch.float32), plan=gp.Plan.from_json((tmp_path / "slim" / "plan.json").read_text())
    )
    assert again.export_dtype == "float16"
    assert 'export-dtype = "float16"' in (tmp_path / "slim" / "shrink.toml").read_text()


def test_budgets_of_the_file_and_of_its_time(tmp_path: Path) -> None:
    with pytest.raises(gp.ExportError, match="onnxruntime cannot load") as caught:
        shrunk_by(latency=0.9)
    assert "--export-dtype float32" in caught.value.remedy
    result = shrunk_by(onnx_bytes=0.7, export_dtype="float32")
    report = result.save(tmp_path / "slim", latency=True)
    assert report["after"]["onnx_bytes"] <= 0.707 * report["before"]["onnx_bytes"]
    assert report["latency"]["runs"] >= 10


def shrunk_by(**options: Any) -> gp.Result:
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Conv2d(64, 4, 1))
    return gp.shrink(wide.eval().bfloat16(), torch.randn(2, 3, 8, 8).bfloat16(), align=1, **options)


def test_a_wrong_conversion_is_found(
    results: dict[str, gp.Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def wrong(program: Any, dtype: Any) -> Any:
        made = in_dtype(program, dtype)
        node = next(node for node in made.graph.nodes if "softmax" in str(node.target))
        node.args = (node.args[0], -1, *node.args[2:])
        return made

    monkeypatch.setattr(onnx_checks.exporting, "in_dtype", wrong)
    with pytest.raises(gp.VerificationError, match="onnxruntime equals PyTorch"):
        results["bfloat16"].save(tmp_path / "slim", latency=False, export_dtype="float32")
    assert not (tmp_path / "slim").exists()


def test_an_unknown_type_is_refused(results: dict[str, gp.Result], tmp_path: Path) -> None:
    with pytest.raises(
        gp.InputError, match="export_dtype='int8' is not a type of an ONNX file — use one of float32"
    ):
        results["float16"].save(tmp_path / "slim", export_dtype="int8")
    with pytest.raises(gp.InputError, match="export_dtype='int8'"):
        shrunk(torch.float32, export_dtype="int8")


def test_finite_numbers_stay_finite() -> None:
    given = torch.tensor([1e300, -1e300, float("inf"), float("-inf"), 0.1], dtype=torch.float64)
    largest = torch.finfo(torch.float32).max
    expected = torch.tensor([largest, -largest, float("inf"), float("-inf"), 0.1])
    assert torch.equal(finite(given, torch.float32), expected)
    assert finite(torch.tensor(float("nan"), dtype=torch.float64), torch.float16).isnan()

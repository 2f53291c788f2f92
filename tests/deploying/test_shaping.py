"""Names, sizes and versions of operators: the file computes the same, or is refused."""

from __future__ import annotations

from pathlib import Path

import numpy
import onnx
import pytest
from deploying_models import Clipped, Masked, filed

from graphprune import exporting
from graphprune.asking.deployment import Deployment
from graphprune.deploying.shaping import opened, shaped, sizes_of, write_file
from graphprune.ground.errors import GraphpruneError, InputError


@pytest.mark.parametrize("opset", [15, 17, 19, 21])
def test_other_versions_compute_the_same(opset: int, tmp_path: Path) -> None:
    path, examples = filed(Clipped, tmp_path)
    other = tmp_path / "other.onnx"
    write_file(shaped(opened(path), Deployment(opset=opset), {}), other, {}, external=False)
    assert exporting.check_file(other).opset == opset
    for one, two in zip(examples.run(path), examples.run(other), strict=True):
        assert numpy.abs(one[0] - two[0]).max() < 1e-5


def test_names_and_sizes(tmp_path: Path) -> None:
    path, _ = filed(Masked, tmp_path)
    own = sizes_of(opened(path))
    assert list(own) == ["x", "keep"]
    assert own["x"][0] == "batch"
    options = Deployment(input_names="keep,mask", output_names=("found",), dynamic="batch")
    (length,) = {size for size in own["x"][1:2] if isinstance(size, str)} or {""}
    model = shaped(opened(path), options, {length: 6})
    write_file(model, tmp_path / "named.onnx", {"graphprune.plan": "abc"}, external=True)
    session = exporting.session(tmp_path / "named.onnx")
    assert {item.name: item.shape for item in session.get_inputs()} == {
        "keep": ["batch", 6, 32],
        "mask": ["batch", 6],
    }
    assert [item.name for item in session.get_outputs()] == ["found"]
    assert session.get_modelmeta().custom_metadata_map == {"graphprune.plan": "abc"}
    assert (tmp_path / "named.onnx.data").stat().st_size > (tmp_path / "named.onnx").stat().st_size
    fixed = shaped(opened(path), Deployment(dynamic="batch=3"), {length: 6})
    assert sizes_of(fixed) == {"x": (3, 6, 32), "keep": (3, 6)}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"input_names": "one"}, "1 names are given for 2 inputs"),
        ({"output_names": "softmax"}, "the name of another value"),
        ({"dynamic": "height"}, "there is no size 'height'"),
        ({"dynamic": "batch=0"}, "is no size"),
        ({"input_names": "a,a"}, "would be called 'a'"),
        ({"input_names": "a,"}, "is empty"),
        ({"opset": 3}, "out of range|3"),
    ],
)
def test_refusals(options: dict[str, object], said: str, tmp_path: Path) -> None:
    path, _ = filed(Masked, tmp_path)
    values = {value for node in onnx.load(path).graph.node for value in node.output}
    if options.get("output_names") == "softmax":
        options = {"output_names": sorted(values - {item.name for item in onnx.load(path).graph.output})[0]}
    with pytest.raises(GraphpruneError, match=said) as refused:
        shaped(opened(path), Deployment(**options), {})  # type: ignore[arg-type]
    assert isinstance(refused.value, InputError)
    assert refused.value.remedy

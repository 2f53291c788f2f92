"""Files go through onnxruntime's quantisation, dynamic and static, and come out nearly the same."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

import graphprune as gp
from graphprune.exporting import export_onnx, make_feed, session
from graphprune.exporting.runtime import Array
from models_zoo import ENTRIES
from models_zoo.blocks import BLOCKS
from models_zoo.small_transformers import SMALL_TRANSFORMERS

# of an output's norm: eight bits lose that much in a small model with random weights, a wrong file loses all
LOST = 0.35


class Cnn(nn.Module):
    """Batch norms are folded into convolutions, which renames tensors; the head is turned round by quantisation."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.two = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.two(self.norm(self.one(x)).relu()).relu().mean((2, 3)))


class Detector(nn.Module):
    """Two scales, of which one is enlarged; scores and boxes for as many places as the image has."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 2, 1)
        self.up, self.scores, self.boxes = nn.Conv2d(32, 16, 1), nn.Conv2d(32, 6, 1), nn.Conv2d(32, 4, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        fine = F.silu(self.one(image))
        coarse = F.interpolate(self.up(F.silu(self.two(fine))), scale_factor=2.0, mode="nearest")
        joined = torch.cat([fine, coarse], 1)
        scores = self.scores(joined).flatten(2).transpose(1, 2).sigmoid()
        return {"scores": scores, "boxes": self.boxes(joined).flatten(2).transpose(1, 2)}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def made(name: str) -> tuple[nn.Module, Any, tuple[str, ...]]:
    own = {
        "cnn": (Cnn, (2, 3, 16, 16)),
        "detector": (Detector, (2, 3, 32, 32)),
        "lstm": (Recurrent, (2, 6, 8)),
    }
    torch.manual_seed(0)
    if name in own:
        kind, shape = own[name]
        return kind().eval(), torch.randn(shape), ()
    if name in ENTRIES:
        return ENTRIES[name].build().eval(), ENTRIES[name].example_inputs(2), ()
    if name in SMALL_TRANSFORMERS:
        pytest.importorskip("transformers")
    row = (SMALL_TRANSFORMERS | BLOCKS)[name]
    return row.build(), row.example_inputs(2), row.outputs


NAMES = ("cnn", "detector", "lstm", "bert", "vit", "mtcnn_rnet")


@pytest.fixture(scope="module", params=NAMES)
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A slim model's file, and the arguments to run it on."""
    model, inputs, outputs = made(request.param)
    result = gp.shrink(model, inputs, ratio=0.25, align=1, outputs=outputs)
    path = tmp_path_factory.mktemp(request.param) / "model.onnx"
    export_onnx(result.slim, path, result.model)
    assert any(at.name and at.dim for at in result.slim.dimensions) or request.param in ("vit", "mtcnn_rnet")
    return path, result.slim.example


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The quantiser advises on the root logger, and leaves files in the current folder."""
    monkeypatch.chdir(tmp_path)
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


class Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feed: Mapping[str, Array]) -> None:
        self.feeds = iter([feed])

    def get_next(self) -> Mapping[str, Array] | None:
        return next(self.feeds, None)


def check(whole: Path, quantised: Path, feed: Mapping[str, Array]) -> None:
    integers = {"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QuantizeLinear", "QLinearConv"}
    assert integers & {node.op_type for node in onnx.load(quantised).graph.node}, "nothing was quantised"
    expected, found = session(whole).run(None, feed), session(quantised).run(None, feed)
    for one, other in zip(expected, found, strict=True):
        assert one.shape == other.shape
        assert numpy.linalg.norm(one - other) <= LOST * numpy.linalg.norm(one)


def test_no_tensor_is_described_twice(file: tuple[Path, Any]) -> None:
    graph = onnx.load(file[0]).graph
    assert graph.initializer
    assert not {item.name for item in graph.initializer} & {value.name for value in graph.value_info}


def test_dynamic(file: tuple[Path, Any], tmp_path: Path) -> None:
    path, example = file
    quantize_dynamic(path, tmp_path / "small.onnx")
    check(path, tmp_path / "small.onnx", make_feed(session(path), *example))


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_static(file: tuple[Path, Any], form: QuantFormat, tmp_path: Path) -> None:
    path, example = file
    feed = make_feed(session(path), *example)
    quantize_static(path, tmp_path / "small.onnx", Reader(feed), quant_format=form)
    check(path, tmp_path / "small.onnx", feed)


def test_static_after_preprocessing(file: tuple[Path, Any], tmp_path: Path) -> None:
    """Which joins sizes that it cannot prove to be equal, such as two ways to halve a height, only if told to."""
    path, example = file
    feed = make_feed(session(path), *example)
    quant_pre_process(path, tmp_path / "prepared.onnx", auto_merge=True)
    quantize_static(tmp_path / "prepared.onnx", tmp_path / "small.onnx", Reader(feed))
    check(path, tmp_path / "small.onnx", feed)
